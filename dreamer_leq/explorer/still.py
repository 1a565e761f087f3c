"""A page without a server: a fixed set of dreams to scrub through."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dreamer_leq.explorer.answers import STEPS, Answers
from dreamer_leq.pages.templates import render

MOMENTS = 4
MOST = 64  # dreams on a page: more would make it heavy


def still_page(answers: Answers, log: Callable[[str], None]) -> str:
    """HTML with some moments, each dreamt on under the policy's actions, the
    data's, zero, and each joint held at its ends.
    """
    about, size = answers.about(), answers.session.run.action_size
    actions = {name: name for name in ("policy", "data", "zero")}
    actions |= _held(about["joints"], size)
    count = min(MOMENTS, max(1, MOST // len(actions)))
    found = []
    for at in _moments(answers, count):
        log(f"dreaming from episode {at['number']}, entry {at['entry']} …")
        how = {**at, "seed": 0, "steps": STEPS}
        dreams = {
            name: answers.dream({**how, "actions": given})
            for name, given in actions.items()
        }
        found.append({"at": at, "moment": answers.moment(at), "dreams": dreams})
    # a path and lengths are of no use to who reads it elsewhere
    about |= {"path": "", "lengths": {}, "kinds": list(actions)}
    return render("explorer/page.html", about=about, still=found)


def _held(joints: list[str], size: int) -> dict[str, Any]:
    """Actions [H][A] that hold one joint at +1 or -1, by what the page calls them."""
    held = {}
    for joint, name in enumerate(joints):
        for sign, word in ((1, "+"), (-1, "−")):
            actions = np.zeros((STEPS, size))
            actions[:, joint] = sign
            held[f"{name} {word}"] = actions
    return held


def _moments(answers: Answers, count: int) -> Iterator[dict[str, Any]]:
    """Moments spread over the episodes that there are, with what follows them."""
    source = answers.first()["source"]
    lengths = answers.session.lengths()[source]
    fit = [n for n, length in lengths.items() if length > STEPS + 1] or list(lengths)
    for i in range(count):
        number = fit[i * len(fit) // count]
        last = max(0, lengths[number] - STEPS - 1)
        entry = int(last * (i + 1) / (count + 1))
        yield {"source": source, "number": number, "entry": entry}
