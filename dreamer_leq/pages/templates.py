"""The pages' templates: page.html of each folder fills the blocks of frame.html."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs


def render(name: str, **context: object) -> str:
    """The HTML of `name`, such as report/page.html; escapes what comes from files."""
    plotly = Markup(get_plotlyjs())
    return _templates().get_template(name).render(**context, plotly=plotly)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("dreamer_leq.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
