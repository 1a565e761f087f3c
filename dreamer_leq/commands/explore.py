"""A page on which a run's dreams are seen and steered: served, or as one file."""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dreamer_leq.api.loaded_run import LoadedRun
from dreamer_leq.commands.analysis import has_critic
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.explorer.answers import STEPS, Answers
from dreamer_leq.explorer.server import Server
from dreamer_leq.explorer.session import DreamSession, refuse_unfit
from dreamer_leq.explorer.still import still_page
from dreamer_leq.explorer.views import View, view_of
from dreamer_leq.pages.templates import render
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import replacing
from vd4rl_loader import DataError

LARGEST_PORT = 65535
# flags of eval.py that mean nothing here
_OTHERS = (
    *("episodes", "seed", "random", "video", "imagine", "open_loop", "report"),
    *("export", "share"),
)


def explore(args: Namespace, log: Callable[[str], None]) -> None:
    """eval.py --explore [FILE]. Raises UserError, DataError."""
    if others := [name for name in _OTHERS if getattr(args, name) not in (None, False)]:
        flag = others[0].replace("_", "-")
        raise UserError(f"--explore and --{flag}: give one of them")
    if args.explore:
        _write(Path(args.explore), args, log)
    else:
        _serve(args, log)


def _serve(args: Namespace, log: Callable[[str], None]) -> None:
    if not 0 <= args.port <= LARGEST_PORT:
        raise UserError(f"--port {args.port}: give 0 to {LARGEST_PORT}")
    with Server(args.port) as server:  # before anything takes long
        answers = _answers(args, log, "PNG")
        _compile(answers, log)
        page = render("explorer/page.html", about=answers.about(), still=None)
        server.show(page, answers)
        log(f"open {server.url} in a browser of this machine; Ctrl+C ends it")
        try:
            server.answer_forever()
        except KeyboardInterrupt:
            log("stopped")
        finally:
            answers.session.close()


def _compile(answers: Answers, log: Callable[[str], None]) -> None:
    """The programs of the first dream, so that nobody waits for it at the page."""
    log("compiling …")
    first = answers.first()
    answers.moment(first)
    answers.dream({**first, "actions": "policy", "steps": STEPS, "seed": 0})


def _write(file: Path, args: Namespace, log: Callable[[str], None]) -> None:
    if file.suffix not in (".html", ".htm"):
        raise UserError(f"--explore {file}: the page's name ends in .html")
    try:  # before anything takes long
        with tempfile.TemporaryFile(dir=_nearest(file)):
            writable = not file.is_dir()
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"--explore {file}: can't be written there")
    page = still_page(_answers(args, log, "WEBP"), log)
    try:
        with replacing(file) as temporary:
            temporary.write_text(page)
    except OSError as error:
        raise UserError(f"--explore {file}: {error.strerror}") from None
    log(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


def _nearest(file: Path) -> Path:
    """The folder, or the first one above it that is there."""
    return next(folder for folder in file.absolute().parents if folder.exists())


def _answers(args: Namespace, log: Callable[[str], None], encoding: str) -> Answers:
    folder = RunFolder(args.logdir, args.step, args.env)
    run = LoadedRun(args.logdir, args.step, args.env)
    refuse_unfit(run)
    session = DreamSession(run, _dataset(run, args.data, log))
    if session.dataset is None:
        log("the policy plays an episode …")
        session.play(seed=0)
    environment = folder.facts.environment
    view = _view(environment, "image" in run.observations, log)
    how = args.data, folder.step, encoding, has_critic(folder), _counted(folder)
    return Answers(session, view, environment, *how)


def _counted(folder: RunFolder) -> str:
    """As what critics count a reward; nothing where as it is."""
    everybodys = folder.facts.reward
    own = folder.config.own.rewards
    scale, bias = own or (everybodys["scale"], everybodys["bias"])
    times = f" × {scale:.4g}" if scale != 1 else ""
    added = f" {'+' if bias > 0 else '−'} {abs(bias):g}" if bias else ""
    return f"reward{times}{added}" if times or added else ""


def _dataset(
    run: LoadedRun, path: str | None, log: Callable[[str], None]
) -> AnyDataset | None:
    """None where it isn't there any more, as of a run that was shared."""
    try:
        return run.open_dataset(path, log)
    except DataError as error:
        if path:
            raise
        log(f"without the dataset: {error}")
        return None


def _view(
    environment: Mapping[str, Any], pixels: bool, log: Callable[[str], None]
) -> View | None:
    try:
        return view_of(environment, pixels)
    except DataError as error:
        log(f"states are shown as numbers: {error}")
        return None
