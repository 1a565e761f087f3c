"""Facts about tasks that a file of their transitions has to agree with."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from vd4rl_loader.ogbench_tasks import find_task

USUAL_LIMIT = 1000  # steps of all of Gymnasium's MuJoCo tasks


class TaskFacts(NamedTuple):
    """Facts that are known of a task.

    Attributes:
      name: such as "hopper"; None if it is not known.
      sizes: numbers of a state and of an action, if they are known.
      limit: steps after which time runs out; None if that is not known.
      never_ends: nothing but the clock ends an episode.
      height: which number of a state is the height, and where an episode goes on.
    """

    name: str | None = None
    sizes: tuple[int, int] | None = None
    limit: int | None = None
    never_ends: bool = False
    height: tuple[int, float, float] | None = None


# By how the published names begin; states of NeoRL's begin with x.
_FACTS = {
    "hopper-": TaskFacts("hopper", (11, 3), USUAL_LIMIT, height=(0, 0.7, np.inf)),
    "walker2d-": TaskFacts("walker2d", (17, 6), USUAL_LIMIT, height=(0, 0.8, 2.0)),
    "halfcheetah-": TaskFacts("halfcheetah", (17, 6), USUAL_LIMIT, True),
    "Hopper-": TaskFacts("Hopper", (12, 3), USUAL_LIMIT, height=(1, 0.7, np.inf)),
    "Walker2d-": TaskFacts("Walker2d", (18, 6), USUAL_LIMIT, height=(1, 0.8, 2.0)),
    "HalfCheetah-": TaskFacts("HalfCheetah", (18, 6), USUAL_LIMIT, True),
    "antmaze-": TaskFacts("antmaze", (29, 8)),
    "pointmaze-": TaskFacts("pointmaze", (2, 2)),
}
# NeoRL-2's, by its environments' names: their sizes tell nothing of other files.
_NEORL2 = {
    "Pipeline-": TaskFacts("Pipeline", (52, 1), 1000),
    "Simglucose-": TaskFacts("Simglucose", (31, 1), 480),
    "RocketRecovery-": TaskFacts("RocketRecovery", (7, 2), 500),
    "RandomFrictionHopper-": TaskFacts("RandomFrictionHopper", (13, 3), 1000),
    "DMSD-": TaskFacts("DMSD", (6, 2), 100),
    "Fusion-": TaskFacts("Fusion", (15, 6), 100),
    "SafetyHalfCheetah-": TaskFacts("SafetyHalfCheetah", (18, 6), 1000),
    "Salespromotion-": TaskFacts("Salespromotion", None, 50),
}


def facts(task: str | None, sizes: tuple[int, int]) -> TaskFacts:
    """Facts about a task by its published name, or else by a file's sizes.

    Args:
      task: such as "hopper-medium-v2" or "Hopper-low".
      sizes: numbers of a state and of an action.
    """
    if single := find_task(task):
        return TaskFacts(single.family, single.sizes)
    if task is not None:
        prefix = re.match("[^-]*-?", task)[0]
        return {**_FACTS, **_NEORL2}.get(prefix, TaskFacts(task))
    alike = [known for known in _FACTS.values() if known.sizes == sizes]
    if len(alike) == 1:
        return alike[0]._replace(height=None)  # a task that nobody named is no doubt
    limits = {known.limit for known in alike}  # of walker2d and halfcheetah the same
    return TaskFacts(limit=limits.pop() if len(limits) == 1 else None)
