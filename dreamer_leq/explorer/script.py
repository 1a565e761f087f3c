"""Python lines that dream again what the page shows."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dreamer_leq.explorer.session import Moment

_LINES = """\
import numpy as np

import dreamer_leq as dl

run = dl.load_run({run})
{episode}
latents = run.encode(episode)
actions = np.array([
{actions}
])
dream = run.imagine(latents[{entry}], actions, member="all", seed={seed})
seen = run.decode(dream.latents)  # of each member and step
print(dream.reward)
"""
_RECORDED = "episode = run.open_dataset({data}).episode({number})"
_PLAYED = """\
action, entries = np.zeros(run.action_size), []
with run.make_env(seed={number}) as env:
    entry, memory = env.reset(), run.initial()
    while True:
        entries.append(entry | {{"action": action}})
        if entry["is_last"] or len(entries) > {entry}:
            break
        action, memory = run.act(memory, entry)
        entry = env.step(action)
episode = {{name: np.stack([row[name] for row in entries]) for name in entry}}
episode["action"] = np.stack([row["action"] for row in entries])"""


def python_lines(
    run: Path,
    step: int | None,
    data: str | None,
    moment: Moment,
    actions: np.ndarray,
    seed: int,
) -> str:
    """A script for the dream of a moment under actions [H, A].

    Args:
      run: the run's folder.
      step: of the policy's checkpoint; None: the last one.
      data: where the dataset lies now; None: where the run found it.
      moment: where the dream begins.
      actions: all of them, written out to the last bit.
      seed: of the dream.
    """
    which = f", step={step}" if step is not None else ""
    source = _RECORDED if moment.source == "dataset" else _PLAYED
    return _LINES.format(
        run=f"{str(run.absolute())!r}{which}",
        episode=source.format(
            data=repr(data) if data else "", number=moment.number, entry=moment.entry
        ),
        entry=moment.entry,
        actions="\n".join(f"    [{_numbers(row)}]," for row in actions),
        seed=seed,
    )


def _numbers(row: Iterable[float]) -> str:
    """float32 as short as it can be read back."""
    return ", ".join(f"{np.float32(x)!s}" for x in row)
