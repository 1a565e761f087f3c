"""report.html: everything of a run on one page that needs nothing but itself."""

from pathlib import Path

from dreamer_leq.pages.charts import BLUE, GREY, Style
from dreamer_leq.pages.curves import Source, curves
from dreamer_leq.pages.parts import drawn
from dreamer_leq.pages.report.header import header
from dreamer_leq.pages.report.model import model_section
from dreamer_leq.pages.report.offline import offline_section
from dreamer_leq.pages.report.value import value_section
from dreamer_leq.pages.report.videos import films
from dreamer_leq.pages.run_files import RunFiles
from dreamer_leq.pages.templates import render
from dreamer_leq.system.files import replacing

FILE = "report.html"


def write_pages(folder: Path) -> list[Path]:
    """The page of a run; of a grid, also that of each member. Raises OSError."""
    run = RunFiles(folder)
    return [_write(run), *(_write(member) for member in run.members)]


def _write(run: RunFiles) -> Path:
    file = run.path / FILE
    html = page(run)
    with replacing(file) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return file


def imagines(run: RunFiles) -> bool:
    """Whether there is a model to ask; where the configuration is lost, perhaps."""
    return run.config is None or run.config.imagines_steps


def page(run: RunFiles) -> str:
    """The HTML of a run's page."""
    models = {"Is the model lying?": model_section(run)} if imagines(run) else {}
    sections = models | {
        "Is the value lying?": value_section(run),
        "Choosing without the environment": offline_section(run),
    }
    members = {one.name: (one, style) for one, style in drawn(run) if one is not run}
    own = Source(run.name, run, Style(GREY if members else BLUE))
    context = dict(
        header=header(run),
        films=films(run),
        sections=sections,
        groups=curves([own, *(Source(name, *one) for name, one in members.items())]),
        members={name: style for name, (_, style) in members.items()},
    )
    problems = list(run.all_problems)  # all has been read by now
    return render("report/page.html", **context, problems=problems)
