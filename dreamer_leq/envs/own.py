"""Environments of people's own: any Gymnasium environment, named as MODULE:FUNCTION or
registered from Python.

A name alone imports nothing: only `OwnFactory` does, in the process that calls it, and
it is made for names that the user gave.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamer_leq.envs import physics
from dreamer_leq.envs.observation import Observation, make_observation
from dreamer_leq.envs.picture import IMAGE_SIZE
from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators.opengl import choose_renderer

if TYPE_CHECKING:
    import gymnasium

# What simulators raise where their numbers run away: `VectorEnv` knows them by name.
_RAN_AWAY = ("PhysicsError", "FatalError")

_registered: dict[str, Callable[..., Any]] = {}


def register_env(name: str, make: Callable[..., gymnasium.Env]) -> None:
    """The name of an environment of your own, for `env` of `train_offline`, `load_run`
    and `make_env` in this process.

    Args:
      name: letters, digits, "-", "_" and ".".
      make: gives a new Gymnasium environment (docs/own-environment.md). It is called
        with those of the arguments `seed` and `render_mode` that it takes, in worker
        processes too.

    Example:
      import gymnasium

      dl.register_env("pendulum", lambda: gymnasium.make("Pendulum-v1"))
      with dl.make_env("pendulum", seed=0) as env:
          env.reset()["vector"]  # float32 [3]
    """
    if ":" in name or not callable(make):
        raise DataError(f"register_env({name!r}, …): give a name and a function")
    _registered[name] = make


def is_registered(name: str) -> bool:
    """Whether `register_env` has been called with this name."""
    return name in _registered


def own_factory(fields: Mapping[str, Any], seed: int, image: bool) -> OwnFactory:
    """The factory of a description's environment: MODULE:FUNCTION, or a registered one.

    Raises:
      DataError: it names none, or nobody registered the name here.
    """
    fields = dict(fields)
    name, named = fields.pop("make"), fields.pop("named", "")
    if not name:
        told = "the run has no environment"
        if named:
            told = f"nothing is imported because a run names it, as {shown(named)}"
        raise DataError(f"{told}: give its environment with --env MODULE:FUNCTION")
    if ":" in name:
        return OwnFactory(name, None, seed, image, fields)
    if name not in _registered:
        raise DataError(
            f"--env {name}: nobody registered it here: call dl.register_env({name!r}, "
            "…) first, or give it as MODULE:FUNCTION"
        )
    import cloudpickle  # Gymnasium's; functions of notebooks have no module

    pickled = cloudpickle.dumps(_registered[name])
    return OwnFactory(name, pickled, seed, image, fields)


@dataclass(frozen=True)
class OwnFactory:
    """Makes an environment of the user's, in whatever process calls it.

    Attributes:
      name: MODULE:FUNCTION, or a registered name.
      pickled: the registered function.
      seed, image, fields: as `OwnEnv` takes them.
    """

    name: str
    pickled: bytes | None
    seed: int
    image: bool
    fields: Mapping[str, Any]

    def __call__(self) -> OwnEnv:
        """Makes the environment."""
        if self.pickled is None:
            with _users_code(self.name, DataError):
                make = _imported(self.name)
        else:
            import cloudpickle

            make = cloudpickle.loads(self.pickled)
        return OwnEnv(self.name, make, self.seed, image=self.image, **self.fields)


class OwnEnv:
    """A Gymnasium environment with actions in [-1, 1] and observations as dicts.

    The vector is float32 [D]: all floats of the observation, of a Dict's sorted keys
    one after the other. `is_success` is float32: 1 or 0 as `info` has it, or NaN.

    Attributes:
      action_size: number of action components A.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., gymnasium.Env],
        seed: int,
        *,
        image: bool = False,
        time_limit: int = 0,
        vector_size: int | None = None,
        action_size: int | None = None,
        image_size: int | None = None,
        source_image_size: int | None = None,
    ) -> None:
        """Makes the seeded environment and compares it with the data.

        Args:
          name: of the environment, for messages.
          make: gives it, as in `register_env`.
          seed: of its initial states, of NumPy's and Python's global generators while
            it runs, and of its action space.
          image: whether one that is seen as vectors is filmed.
          time_limit: steps after which an episode is cut off; 0: as it has it itself.
          vector_size, action_size, image_size: those of the data, 0: the data have
            none; None: whatever the environment shows.
          source_image_size: of the data before they were resized to image_size.

        Raises:
          DataError: it can't be made, shows or takes something else than the data
            have, or has no time limit, and what to do about it.
        """
        self._name = name
        self._random = _Randomness(seed)
        self._seed: int | None = seed  # until the first reset
        with self._random, _users_code(name, DataError):
            self._env = _made(name, make, seed, image)
            self._env.action_space.seed(seed)
        space = self._env.observation_space
        self._vectors, self._images = _parts(name, space)
        self._low, self._high = _bounds(name, self._env.action_space)
        self.action_size = len(self._low)
        self._limit = _limit(name, self._env, time_limit)
        vectors = sum(int(np.prod(shape)) for _, shape in self._vectors)
        _refuse_other(name, "actions", self.action_size, action_size)
        if image_size and not self._images:
            raise DataError(f"env {name}: the data have images, its observations none")
        if vector_size:
            _refuse_other(name, "vectors", vectors, vector_size)
        self._shows_vector = bool(vectors) and vector_size != 0
        self._sizes = image_size and (source_image_size or image_size, image_size)
        self._shows_image = bool(self._images) and image_size != 0
        if image and not self._shows_image:
            _refuse_unseen(name, self._env)
        self._films = image and not self._shows_image
        self._over, self._steps = True, 0

    def reset(self) -> Observation:
        """Starts the next episode of this environment's seed."""
        with self._random, _users_code(self._name):
            seen, info = self._env.reset(seed=self._seed)
        self._seed, self._over, self._steps = None, False, 0
        return self._observe(seen, info, first=True)

    def step(self, action: np.ndarray) -> Observation:
        """Takes an action, float32 [A], clipped to [-1, 1] and scaled to its bounds.

        Raises:
          RuntimeError: the episode is over; or the environment raised.
        """
        if self._over:
            raise RuntimeError("the episode is over, or has not begun: call reset()")
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        action = self._low + (action + 1) / 2 * (self._high - self._low)
        with self._random, _users_code(self._name):
            seen, reward, terminal, timeout, info = self._env.step(
                action.astype(self._env.action_space.dtype)
            )
        self._steps += 1
        self._over = bool(terminal or timeout or self._steps == self._limit)
        return self._observe(
            seen, info, reward=float(reward), last=self._over, terminal=bool(terminal)
        )

    def get_state(self) -> np.ndarray:
        """The physics' whole state, float64 [P], for `set_state`: of MuJoCo alone."""
        return physics.get_state(*self._simulation())

    def set_state(self, state: np.ndarray) -> None:
        """Puts the physics into a state. The episode's clock is not touched."""
        physics.set_state(*self._simulation(), state)

    def close(self) -> None:
        """Closes the user's environment."""
        self._env.close()

    def _simulation(self) -> tuple[Any, Any]:
        inner = self._env.unwrapped
        if hasattr(inner, "model") and hasattr(inner, "data"):
            return inner.model, inner.data
        raise DataError(f"env {self._name}: has no MuJoCo state to take or to put back")

    def _observe(self, seen: Any, info: Mapping[str, Any], **about: Any) -> Observation:
        for part in (*self._vectors, *self._images):
            _refuse_unlike_space(self._name, seen, *part)
        vector = [np.reshape(_at(seen, path), -1) for path, _ in self._vectors]
        vector = np.concatenate(vector) if vector else np.zeros(0)
        entry = make_observation(vector, self._image(seen), **about)
        if not self._shows_vector:
            del entry["vector"]
        if not np.isfinite(vector).all():
            raise RuntimeError(f"env {self._name}: an observation is NaN or infinite")
        told = info.get("success", info.get("is_success", np.nan))
        return {**entry, "is_success": np.float32(np.max(told))}

    def _image(self, seen: Any) -> np.ndarray | None:
        if self._shows_image:
            image = np.asarray(_at(seen, self._images[0][0]))
            for size in self._sizes or ():
                image = resize_images(image, size)
            return image
        if not self._films:
            return None
        with self._random, _users_code(self._name):
            picture = np.asarray(self._env.render(), np.uint8)
        return resize_images(_square(picture), IMAGE_SIZE)


class _Randomness:
    """The global generators of NumPy and Python, for one environment alone: what it
    draws from them does not depend on who shares its process.
    """

    def __init__(self, seed: int) -> None:
        self._own = (
            np.random.RandomState(seed % 2**32).get_state(),
            random.Random(seed).getstate(),
        )

    def __enter__(self) -> None:
        self._others = np.random.get_state(), random.getstate()
        self._set(*self._own)

    def __exit__(self, *exception: object) -> None:
        self._own = np.random.get_state(), random.getstate()
        self._set(*self._others)

    @staticmethod
    def _set(numpy_state: Any, python_state: Any) -> None:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextlib.contextmanager
def _users_code(name: str, kind: type[Exception] = RuntimeError) -> Iterator[None]:
    """Says where the user's own code raised, as an error of `kind`."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if type(error).__name__ in _RAN_AWAY:
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}, line {last.lineno}"
        told = shown(f"{type(error).__name__}: {error}", 300)
        raise kind(f"env {name}: {told} ({where})") from error


def _imported(name: str) -> Callable[..., Any]:
    """MODULE:FUNCTION, found from the current folder first, as `python -m` does."""
    module, _, path = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # one that it imports itself
        raise DataError(
            f"--env {name}: there is no module {error.name} in {here}, nor among the "
            "installed packages"
        ) from None
    for part in path.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise DataError(f"--env {name}: {module} has no {part}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise DataError(f"--env {name}: is no function, but a {type(found).__name__}")
    return found


def _made(name: str, make: Callable[..., Any], seed: int, image: bool) -> gymnasium.Env:
    """What `make` gives for the arguments that it takes."""
    choose_renderer()  # of environments that draw with MuJoCo
    import gymnasium

    takes = inspect.signature(make).parameters
    given: dict[str, Any] = {"seed": seed} if "seed" in takes else {}
    if image and "render_mode" in takes:
        given["render_mode"] = "rgb_array"
    env = make(**given)
    if not isinstance(env, gymnasium.Env):
        raise DataError(
            f"env {name}: gives a {type(env).__name__}, expected a gymnasium.Env"
        )
    return env


_Part = tuple[tuple[str, ...], tuple[int, ...]]  # keys within Dicts, and a shape


def _parts(name: str, space: Any) -> tuple[list[_Part], list[_Part]]:
    """The vectors and the image of an observation space, in the order of its keys."""
    from gymnasium import spaces

    def leaves(space: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple, Any]]:
        if isinstance(space, spaces.Dict):
            for key in sorted(space.spaces):
                yield from leaves(space.spaces[key], (*path, key))
        else:
            yield path, space

    vectors, images = [], []
    for path, leaf in leaves(space, ()):
        where = f"observation {'.'.join(path)}" if path else "its observation"
        if not isinstance(leaf, spaces.Box):
            raise DataError(
                f"env {name}: {where} is {type(leaf).__name__}: expected a Box, or a "
                "Dict of them (gymnasium.wrappers.FlattenObservation makes one of most)"
            )
        if len(leaf.shape) < 2:
            vectors.append((path, leaf.shape))
        elif leaf.dtype == np.uint8 and len(leaf.shape) == 3 and leaf.shape[-1] == 3:
            images.append((path, leaf.shape))
        else:
            raise DataError(
                f"env {name}: {where} has shape {leaf.shape} of {leaf.dtype}: expected "
                "a vector [D], or one image [H, W, 3] of uint8, channels last: change "
                "it with gymnasium.wrappers.TransformObservation"
            )
    if len(images) > 1:
        keys = ", ".join(".".join(path) for path, _ in images)
        raise DataError(f"env {name}: has the images {keys}: leave one in its Dict")
    for _, shape in images:
        if shape[0] != shape[1]:
            raise DataError(
                f"env {name}: images of {shape[0]}×{shape[1]} pixels, expected square "
                "ones: crop them, or use gymnasium.wrappers.ResizeObservation"
            )
    return vectors, images


def _bounds(name: str, space: Any) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest action, float64 [A]."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise DataError(
            f"env {name}: has {type(space).__name__} actions, which can't be trained "
            "here: policies are deterministic, and LEQ's gradient goes through their "
            "actions; give a Box"
        )
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        shape = "" if space.shape is None else f" of shape {space.shape}"
        raise DataError(
            f"env {name}: actions are {type(space).__name__}{shape}, expected a Box [A]"
        )
    low, high = np.float64(space.low), np.float64(space.high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise DataError(
            f"env {name}: its actions have no finite bounds: give its Box a low and a "
            "high, to which [-1, 1] is scaled"
        )
    return low, high


def _limit(name: str, env: Any, given: int) -> int:
    """Steps after which an episode is cut off here; 0: the environment does it."""
    if given:
        return given
    inner, limit = env, env.spec and env.spec.max_episode_steps
    while not limit and inner is not None:
        limit = getattr(inner, "_max_episode_steps", None)  # of TimeLimit
        inner = getattr(inner, "env", None)
    if not limit:
        raise DataError(
            f"env {name}: nobody knows when its episodes are over: wrap it in "
            "gymnasium.wrappers.TimeLimit(env, 1000), or give --eval.time_limit 1000"
        )
    return 0


def _refuse_other(name: str, what: str, has: int, wanted: int | None) -> None:
    if wanted is not None and has != wanted:
        raise DataError(
            f"env {name}: has {what} of {has} numbers, but the data of {wanted}: give "
            "the environment that the data are of"
        )


def _refuse_unseen(name: str, env: Any) -> None:
    if env.render_mode != "rgb_array":
        raise DataError(
            f"env {name}: has render_mode {env.render_mode}: let its function take the "
            'argument render_mode, which is "rgb_array" for films'
        )


def _refuse_unlike_space(
    name: str, seen: Any, path: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    """Refuses an observation that is not what its space promises at `path`."""
    where = f"observation {'.'.join(path)}" if path else "an observation"
    promised = f"but observation_space says {list(shape)}: make them agree"
    try:
        found = np.asarray(_at(seen, path))
    except (KeyError, IndexError, TypeError, ValueError):
        raise RuntimeError(f"env {name}: {where} is missing, {promised}") from None
    image = len(shape) == 3
    if found.shape != shape if image else found.size != np.prod(shape):
        has = list(found.shape)
        raise RuntimeError(f"env {name}: {where} has shape {has}, {promised}")
    if found.dtype != np.uint8 if image else found.dtype.kind not in "biuf":
        wanted = "uint8" if image else "numbers"
        raise RuntimeError(
            f"env {name}: {where} is {found.dtype}, but observation_space says {wanted}"
        )


def _at(seen: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        seen = seen[key]
    return seen


def _square(picture: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] with black on both sides, or above and below."""
    height, width = picture.shape[:2]
    side = max(height, width)
    rows, columns = side - height, side - width
    pad = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    return np.pad(picture, (*pad, (0, 0)))
