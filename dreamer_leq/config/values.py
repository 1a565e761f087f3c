"""Kinds of values that keys of the configuration have: a type, and a rule in words."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from vd4rl_loader import paths
from vd4rl_loader.simulators.render import MAX_SIZE


@dataclass(frozen=True)
class Rule:
    """What a value has to be beyond its type: in words, and as a test. Where it is one
    of some names, `choices` gives them.
    """

    words: str
    holds: Callable[[Any], bool]
    choices: Callable[[], Iterable[str]] = tuple


LARGEST = 2**31 - 1  # JAX counts in 32 bits
MAX_EPISODES = 10_000  # of an evaluation: each has an environment of its own
_MAX_LAYERS = 100  # each is compiled


# Tests are written so that NaN fails them.
Count = Annotated[int, Rule("at least 1, below 2^31", lambda n: 1 <= n <= LARGEST)]
Natural = Annotated[int, Rule("0 or more, below 2^31", lambda n: 0 <= n <= LARGEST)]
Steps = Annotated[int, Rule("at least 2, below 2^31", lambda n: 2 <= n <= LARGEST)]
Layers = Annotated[
    int, Rule(f"from 1 to {_MAX_LAYERS}", lambda n: 1 <= n <= _MAX_LAYERS)
]
Bins = Annotated[
    int,
    Rule("odd, at least 3, below 2^31", lambda n: 3 <= n <= LARGEST and n % 2 == 1),
]
Counts = Annotated[
    tuple[int, ...],
    Rule(
        "one or more numbers, each at least 1",
        lambda t: 1 <= len(t) <= _MAX_LAYERS and 1 <= min(t) <= max(t) <= LARGEST,
    ),
]
Played = Annotated[  # an interval takes two
    int,
    Rule(f"0, or 2 to {MAX_EPISODES}", lambda n: n == 0 or 2 <= n <= MAX_EPISODES),
]
Episodes = Annotated[
    int, Rule(f"from 0 to {MAX_EPISODES}", lambda n: 0 <= n <= MAX_EPISODES)
]
Seeds = Annotated[int, Rule("from 1 to 1000", lambda n: 1 <= n <= 1000)]
Pixels = Annotated[int, Rule(f"from 1 to {MAX_SIZE}", lambda n: 1 <= n <= MAX_SIZE)]
RUN_WORDS = "a run's folder, or hf://USER/NAME or hf://USER/NAME@REVISION of the hub"
HUB = re.compile(r"hf://([\w][\w.-]*/[\w][\w.-]*)(?:@([\w][\w./-]*))?", re.ASCII)
PathText = Annotated[str, Rule(paths.WORDS, paths.is_path)]
RunText = Annotated[
    str, Rule(RUN_WORDS, lambda x: paths.is_path(x) or bool(HUB.fullmatch(x)))
]
Positive = Annotated[float, Rule("above 0 and finite", lambda x: 0 < x < math.inf)]
Weight = Annotated[float, Rule("0 or more and finite", lambda x: 0 <= x < math.inf)]
Number = Annotated[float, Rule("finite", math.isfinite)]
Share = Annotated[float, Rule("from 0 to 1", lambda x: 0 <= x <= 1)]
SomeShare = Annotated[float, Rule("above 0 and at most 1", lambda x: 0 < x <= 1)]
Decay = Annotated[float, Rule("at least 0 and below 1", lambda x: 0 <= x < 1)]
OpenShare = Annotated[float, Rule("above 0 and below 1", lambda x: 0 < x < 1)]
Expectile = Annotated[float, Rule("above 0 and below 1", lambda x: 0 < x < 1)]
Discount = Annotated[float, Rule("above 0 and at most 1", lambda x: 0 < x <= 1)]
Lambda = Annotated[
    float, Rule("from 0 to 1, or inf", lambda x: 0 <= x <= 1 or x == math.inf)
]


def several(kind: Any) -> Any:
    """A key of which a grid may have several different values, each as `kind` has it;
    one of them alone is a plain value.
    """
    bare, rule = get_args(kind)

    def holds(value: Any) -> bool:
        if not isinstance(value, tuple):
            return rule.holds(value)
        return all(map(rule.holds, value)) and len(set(value)) == len(value) > 1

    words = f"one or more different numbers, each {rule.words}"
    return Annotated[bare | tuple[bare, ...], Rule(words, holds)]
