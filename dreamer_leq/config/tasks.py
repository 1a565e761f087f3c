"""The tasks: what their names mean, one table per benchmark. No numbers of training.

walker_walk-medium_expert   dm_control from pixels (V-D4RL)
hopper-medium-replay        D4RL's locomotion; walker2d, halfcheetah
antmaze-large-diverse       D4RL's AntMaze; ultra too
Hopper-low                  NeoRL; Walker2d, HalfCheetah; medium, high
pointmaze-large             a point in AntMaze's mazes; data are made here
cube-single-play-singletask-task1-v0   OGBench's single tasks; without task1 the default

Everything else is the name of a task of one's own, with `--env` or without scores.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any, Literal

from vd4rl_loader import ogbench_tasks
from vd4rl_loader.simulators.suite import ACTION_SIZES

WORDS = (
    "a task such as walker_walk-medium_expert, hopper-medium-replay, "
    "antmaze-large-diverse, Hopper-low, pointmaze-medium or "
    "cube-single-play-singletask-v0"
)

OWN_WORDS = f"{WORDS}; or a name of your own, of letters, digits, - _ and ."
_OWN_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
ENV_WORDS = "MODULE:FUNCTION, such as mypackage.mymodule:make, or a registered name"
_ENV = re.compile(r"(?:\w+(?:\.\w+)*:\w+(?:\.\w+)*|[\w.-]+)?", re.ASCII)

# Centres of AntMaze's random goals (D4RL's sampler), and of the models' success region.
ANTMAZE_GOALS = {
    "umaze": (0.75, 8.75),
    "medium": (20.75, 20.75),
    "large": (32.75, 24.75),
    "ultra": (52.75, 36.75),
}
# Radius of that region: the real one's is 0.5 around the episode's own goal.
REGIONS = {"leq": 0.25, "cbop": 0.5}  # by whose public code has it

# Numbers of a state and of an action. NeoRL's states begin with x as well.
_SIZES = {"Hopper-v4": (11, 3), "Walker2d-v4": (17, 6), "HalfCheetah-v4": (17, 6)}
_ANTMAZE_SIZES, _POINTMAZE_SIZES = (29, 8), (2, 2)

# Returns that are 0 % and 100 % of a score (D4RL's and NeoRL's references).
_D4RL = {
    "hopper": ("Hopper-v4", (-20.272305, 3234.3)),
    "walker2d": ("Walker2d-v4", (1.629008, 4592.3)),
    "halfcheetah": ("HalfCheetah-v4", (-280.178953, 12135.0)),
}
_NEORL = {
    "Hopper": ("Hopper-v4", "hopper_x", (5.0, 3294.0)),
    "Walker2d": ("Walker2d-v4", "walker2d_x", (1.0, 5143.0)),
    "HalfCheetah": ("HalfCheetah-v4", "never", (-298.0, 12284.0)),
}
_D4RL_LEVELS = "random|medium|medium-replay|medium-expert|expert|full-replay"
_PATTERNS = {
    "d4rl": rf"(hopper|walker2d|halfcheetah)-({_D4RL_LEVELS})(?:-v2)?",
    # umaze has no play, the others have no plain dataset
    "antmaze": r"antmaze-(umaze(?!-play)|(?:medium|large|ultra)(?=-[pd]))"
    r"(?:-(play|diverse))?(?:-v[02])?",
    "neorl": r"(Hopper|Walker2d|HalfCheetah)(?:-v3)?-(low|medium|high)",
    "pointmaze": r"pointmaze-(umaze|medium|large|ultra)()",
    "ogbench": rf"({ogbench_tasks.STATES}|{ogbench_tasks.IMAGES})",
    "dm_control": rf"({'|'.join(ACTION_SIZES)})-([a-z0-9_]+)",
}


@dataclass(frozen=True)
class Task:
    """What a task's name says.

    `environment` describes it for envs.suites; that of dm_control lacks what a dataset
    knows. `reward` is how algorithms see rewards: scaled to returns that span 1000,
    minus one, or as they are. `rule`, `goal` and `radius` are those of
    world_models.termination.Termination; a radius of None is to be chosen.
    """

    suite: str
    level: str
    environment: dict[str, Any]
    reference: tuple[float, float]
    reward: Literal["return_range", "minus_one", "none"] = "none"
    rule: str = "never"
    goal: tuple[float, float] | None = None
    radius: float | None = None
    sizes: tuple[int, int] | None = None  # of state and action, where they are known
    images: bool = False  # of an own task or OGBench's, whether it is seen as images

    @property
    def pixels(self) -> bool:
        return self.suite == "dm_control" or self.images

    @property
    def referenced(self) -> bool:
        """Whether there is a return that is 100 %; of own tasks nobody knows one."""
        return self.suite != "own"

    @property
    def unit(self) -> str:
        """What the return of an episode is: a return, or success."""
        of_goals = ("antmaze", "pointmaze", "ogbench")
        return "success" if self.suite in of_goals else "return"


def is_task(name: str) -> bool:
    """Whether `parse` knows the name."""
    return any(re.fullmatch(pattern, name) for pattern in _PATTERNS.values())


def likely(name: str) -> str | None:
    """The benchmark's task that a name with a slip seems to mean."""
    from vd4rl_loader.simulators.mazes import MAZES

    if found := ogbench_tasks.likely_task(name):
        return found
    mazes = [f"antmaze-{m}-{k}" for m in MAZES for k in ("play", "diverse")]
    known = [f"{env}-{level}" for env in _D4RL for level in _D4RL_LEVELS.split("|")]
    known += [f"{env}-{k}" for env in _NEORL for k in ("low", "medium", "high")]
    known += [f"pointmaze-{maze}" for maze in MAZES]
    known += ["antmaze-umaze", *filter(is_task, mazes)]
    name = name[:100]
    level = name.partition("-")[2]
    known += [x for task in ACTION_SIZES if is_task(x := f"{task}-{level}")]
    same = [x for x in known if x.partition("-")[0] == name.partition("-")[0]]
    near = difflib.get_close_matches(name, same, n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    return near[0] if near else None


def parse(name: str) -> Task:
    """The task of a name for which `is_task` holds."""
    for suite, pattern in _PATTERNS.items():
        if match := re.fullmatch(pattern, name):
            return _MAKERS[suite](*match.groups())
    raise ValueError(f"{name!r} is not {WORDS}")


def is_name(name: str) -> bool:
    """Whether a task of one's own may have this name."""
    return is_task(name) or bool(_OWN_NAME.fullmatch(name))


def is_env(text: str) -> bool:
    """Whether this names an environment of one's own; the empty text names none."""
    return bool(_ENV.fullmatch(text))


def name_of(env: str) -> str:
    """The task's name where nobody gave one: of mypackage.pendulum:make
    pendulum-make.
    """
    module, _, function = env.rpartition(":")
    return "-".join(filter(None, (module.rpartition(".")[2], function)))


def own(env: str, time_limit: int, images: bool) -> Task:
    """A task of one's own: nothing is known of its rewards and ends, and its score is
    the return itself.
    """
    about = {"suite": "own", "make": env, "time_limit": time_limit}
    return Task("own", "", about, (0.0, 100.0), rule="learned", images=images)


def _dm_control(environment: str, level: str) -> Task:
    about = {"suite": "dm_control", "task": environment}
    return Task("dm_control", level, about, (0.0, 1000.0))


def _d4rl(name: str, level: str) -> Task:
    make, reference = _D4RL[name]
    # random data are left alone, as in the paper
    reward = "none" if level == "random" else "return_range"
    about = {"suite": "gymnasium", "id": make}
    sizes = _SIZES[make]
    return Task("d4rl", level, about, reference, reward, name, sizes=sizes)


def _neorl(name: str, level: str) -> Task:
    make, rule, reference = _NEORL[name]
    about = {"suite": "gymnasium", "id": make, "x_position": True}
    state, action = _SIZES[make]
    sizes, reward = (state + 1, action), "return_range"
    return Task("neorl", level, about, reference, reward, rule, sizes=sizes)


def _antmaze(maze: str, level: str | None) -> Task:
    about = {"suite": "antmaze", "maze": maze}
    return Task(
        "antmaze",
        level or "",
        about,
        (0.0, 1.0),
        reward="minus_one",
        rule="goal",
        goal=ANTMAZE_GOALS[maze],
        sizes=_ANTMAZE_SIZES,
    )


def _pointmaze(maze: str, level: str) -> Task:
    from vd4rl_loader.simulators.mazes import MAZES
    from vd4rl_loader.simulators.pointmaze import GOAL_RADIUS

    about = {"suite": "pointmaze", "maze": maze}
    return Task(
        "pointmaze",
        level,
        about,
        (0.0, 1.0),
        reward="minus_one",
        rule="goal",
        goal=tuple(float(x) for x in MAZES[maze].xy(MAZES[maze].goal_cell)),
        radius=GOAL_RADIUS,
        sizes=_POINTMAZE_SIZES,
    )


def _ogbench(name: str) -> Task:
    task = ogbench_tasks.find_task(name)
    about = {"suite": "ogbench", "task": task.environment}
    seen = {"images": True} if task.visual else {"sizes": task.sizes}
    return Task("ogbench", task.kind, about, (0.0, 1.0), rule="learned", **seen)


_MAKERS = {
    "d4rl": _d4rl,
    "antmaze": _antmaze,
    "neorl": _neorl,
    "pointmaze": _pointmaze,
    "ogbench": _ogbench,
    "dm_control": _dm_control,
}
