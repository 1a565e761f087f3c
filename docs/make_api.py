"""The reference of docs/api.md, from the docstrings of the library.

python docs/make_api.py

What stands before its first part in the page is written by hand, and kept.
"""

import inspect
import re
import textwrap
from pathlib import Path

import dreamer_leq as dl

PAGE = Path(__file__).with_name("api.md")
WIDTH = 96
CALLED = {"LoadedRun": "run", "Latents": "latents", "Environment": "env"}
CONTENTS = {
    "Datasets": ["open_dataset", "write_dataset"],
    "Runs": ["train_offline", "load_run", "LoadedRun", "Latents", "Imagined"],
    "Environments": ["make_env", "register_env", "Environment"],
    "Errors": ["UserError", "DataError", "WorkerError"],
}


def page(now: str) -> str:
    """The page with its introduction as it is now, and the docstrings as they are."""
    introduction, _, _ = now.partition(f"## {next(iter(CONTENTS))}\n")
    parts = [introduction.rstrip("\n") + "\n"]
    for title, names in CONTENTS.items():
        parts.append(f"## {title}\n")
        parts += [part for name in names for part in described(name)]
    return "\n".join(parts)


def described(name: str) -> list[str]:
    """Paragraphs about a public name, and about the methods of a class."""
    thing = getattr(dl, name)
    if not inspect.isclass(thing):
        return [f"### `{name}`\n", f"`{call(name, thing)}`\n", *paragraphs(thing)]
    public = {k: v for k, v in vars(thing).items() if not k.startswith("_")}
    parts = [f"### `{name}`\n", *paragraphs(thing, properties(public))]
    for key, method in public.items():
        if inspect.isfunction(method):
            parts.append(f"**`{CALLED[name]}.{call(key, method)}`**\n")
            parts += paragraphs(method)
    return parts


def call(name: str, function: object) -> str:
    """A call as its signature has it, without types."""
    given, star = [], False
    for one in inspect.signature(function).parameters.values():
        star |= one.kind is one.VAR_POSITIONAL
        if one.kind is one.KEYWORD_ONLY and not star:
            given, star = [*given, "*"], True
        default = getattr(one.default, "__name__", repr(one.default))
        text = str(one.replace(annotation=one.empty, default=one.empty))
        given += [text if one.default is one.empty else f"{text}={default}"]
    return f"{name}({', '.join(key for key in given if key != 'self')})"


def properties(public: dict[str, object]) -> dict[str, str]:
    """Docstrings of a class' properties, by name."""
    found = {k: inspect.getdoc(v) for k, v in public.items() if isinstance(v, property)}
    return {name: text.rstrip(".") for name, text in found.items()}


def paragraphs(thing: object, rows: dict[str, str] | None = None) -> list[str]:
    """A docstring as Markdown; `rows` go before those of its table."""
    text, *sections = re.split(
        r"^(Args|Attributes|Raises|Example):\n", inspect.getdoc(thing) or "", flags=re.M
    )
    found = dict(zip(sections[::2], map(textwrap.dedent, sections[1::2]), strict=True))
    parts = [filled(part) for part in text.strip().split("\n\n")]
    rows = (rows or {}) | items(found.get("Args") or found.get("Attributes") or "")
    if rows:
        lines = [f"| `{name}` | {about} |\n" for name, about in rows.items()]
        parts.append("| | |\n|---|---|\n" + "".join(lines))
    raised = [
        f"`{name}`: {about}" for name, about in items(found.get("Raises", "")).items()
    ]
    if raised:
        parts.append(filled(f"Raises {'; '.join(raised)}."))
    if example := found.get("Example"):
        parts.append(f"```python\n{example.strip()}\n```\n")
    return parts


def items(section: str) -> dict[str, str]:
    """Names of a docstring's section, and what it says of each in one line."""
    found = re.findall(r"^(\w+): (.*\n?(?:^ +.*\n?)*)", section, re.M)
    return {name: " ".join(about.split()).rstrip(".") for name, about in found}


def filled(text: str) -> str:
    how = dict(break_long_words=False, break_on_hyphens=False)
    return textwrap.fill(" ".join(text.split()), WIDTH, **how) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
