"""What docs/paper-to-code.md writes as code exists; nothing is imported to see it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from dreamer_leq import UserError
from dreamer_leq import config as configs

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dreamer_leq", "vd4rl_loader")
PAGE = (ROOT / "docs/paper-to-code.md").read_text()
SPANS = sorted(set(re.findall(r"`([^`]+)`", PAGE)))


def exists(span):
    """Whether code spans such as these name something: `--leq.tau 0.1`,
    `module.py: function, Class.method`, `Class.field`, `leq.tau`, `leq.tau: 0.1`.
    """
    before, _, after = span.partition(": ")
    if span.startswith("--"):
        return accepted(*span.split())
    if before.endswith((".py", ".yaml")):
        places = [ROOT / "dreamer_leq" / before, ROOT / before]
        names = set(filter(None, after.split(", ")))
        return any(path.exists() and names <= inside(path) for path in places)
    if after:
        return accepted(f"--{before}", after)
    return span in everything() or is_key(span)


def accepted(*flags):
    try:
        return bool(configs.load(["--configs", "vd4rl", *flags]))
    except UserError:
        return False


defaults = cache(lambda: configs.load([]))


def is_key(name):
    value = defaults()
    for part in name.split("."):
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


@cache
def inside(path):
    """The presets of configs.yaml; names of a module and `Class.member` of its
    classes.
    """
    if path.suffix == ".yaml":
        return set(re.findall(r"^(\w+):", path.read_text(), re.MULTILINE))
    names = set()
    for node in ast.parse(path.read_text()).body:
        names |= defined(node)
        if isinstance(node, ast.ClassDef):
            members = set().union(*map(defined, node.body))
            names |= {f"{node.name}.{member}" for member in members}
    return names


def defined(node):
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {target.id for target in targets if isinstance(target, ast.Name)}


@cache
def everything():
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return set().union(*map(inside, paths))


@pytest.mark.parametrize("span", SPANS)
def test_what_is_written_as_code_exists(span):
    assert exists(span)


def test_the_learners_equations_are_all_there():
    assert {"LEQ.losses", "LEQ.policy_loss", "LEQ.critic_model_loss"} <= set(SPANS)
    assert len(SPANS) > 80


@pytest.mark.parametrize(
    "wrong",
    [
        "LEQ.critic_modelloss",
        "LEQ.update",  # the base class has it
        "algorithms/leq/learner.py: roll",  # imagination.py has it
        "algorithms/nothing.py",
        "leq.tua",
        "tau",
        "actor.update: nothing",
        "--leq.tua 0.1",
        "configs.yaml: nothing",
        "something",
    ],
)
def test_a_wrong_name_would_be_found(wrong):
    assert not exists(wrong)
