"""What the pictures of a report's analysis say, in words."""

from collections.abc import Mapping
from typing import Any

from dreamer_leq.evaluation.calibration import Calibration

_SMALL = 0.05  # share of the mean return that is not worth a warning
_HIDDEN = 0.1  # share of the weight behind the time limit that is worth saying
_REPEATED = {"image": "frame", "state": "state"}


def model_sentence(
    errors: Mapping[str, Any], disagreement: Mapping[str, Any], units: Mapping[str, str]
) -> str:
    """Of the errors by kind and the disagreement by source of actions, as
    evaluation.model_error gives them.
    """
    kind = "state" if "state" in errors else "image"
    last, baseline = (errors[kind][name][-1] for name in ("mixture", "baseline"))
    steps = len(errors[kind]["mixture"])
    said = "better than" if last < baseline else "no better than"
    text = (
        f"{steps} steps ahead, in episodes that it was trained on, the imagined {kind} "
        f"is off by {_number(last)} "
        f"{units[kind]}, {said} repeating the last {_REPEATED[kind]} "
        f"({_number(baseline)})"
    )
    if "policy" in disagreement:
        text += f"; {_dispute(disagreement)}"
    return text + "."


def _dispute(disagreement: Mapping[str, Any]) -> str:
    policy, data = (disagreement[name][-1] for name in ("policy", "data"))
    if not data > 0:
        return "the members agree on the data's actions"
    times = policy / data
    if times > 1.25:
        far = f"{times:.1f} times as far apart on the policy's actions as on"
        return f"the members are {far} the data's"
    return "the members agree as well on the policy's actions as on the data's"


def value_sentence(
    q: Calibration, imagined: Calibration, tau: float, horizon: int, hidden: float
) -> str:
    """Of the critic, of `horizon` imagined steps, and of how much of the real return
    is a guess: `hidden`, the mean share of its weight behind the clock's end.
    """
    scale = sum(map(abs, q.real)) / len(q.real)
    text = _bias("Q", q, scale)
    if q.low > 0 and q.bias > _SMALL * scale:
        text += ": the policy believes to be better than it is"
    elif q.high < 0 and tau < 0.5:
        text += f": a lower expectile (τ = {tau:g}) is meant to be careful"
    scale = sum(map(abs, imagined.real)) / len(imagined.real)
    text += f". {_bias(f'What {horizon} imagined steps bring', imagined, scale)}"
    if hidden > _HIDDEN:
        share = f"{_share(hidden)} of the real returns' weight"
        text += f". {share} lies behind the time limit, where rewards are taken to go"
        text += " on as they were"
    return text + "."


def _bias(name: str, found: Calibration, scale: float) -> str:
    span = f"95 % {_number(found.low)} … {_number(found.high)}"
    if found.low <= 0 <= found.high:
        return f"{name} is right on the average: bias {_number(found.bias)} ({span})"
    side = "high" if found.bias > 0 else "low"
    text = f"{name} is too {side} by {_number(abs(found.bias))} ({span})"
    if scale > 0:
        text += f", {_share(abs(found.bias) / scale)} of the mean return"
    return text


def _number(x: float) -> str:
    """Three digits, no exponent where one can do without."""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e7 else f"{x:.3g}"


def _share(x: float) -> str:
    return f"{100 * x:.0f} %" if x >= 0.01 else "less than 1 %"
