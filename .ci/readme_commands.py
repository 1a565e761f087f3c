"""The README's commands, at a size for tests: `python .ci/readme_commands.py`.

Prints one command a line, to be run in an empty folder; scripts are named from the
repository's root. What sets up, tests or watches is left out, and a dataset that would
be downloaded is collected. AntMaze and other projects' files are left out, as nothing
here makes them, and OGBench's images, as drawing them takes minutes.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from vd4rl_loader.states import expected_file

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DEBUG_SIZES = {"--episodes": "2", "--steps": "2000"}
DEBUG_SIZES["--share"] = "./shared-run"  # not on the hub
STATE_SUITES = ("d4rl", "neorl")
# .ci/run does the first two itself, tensorboard never ends, benchmarks take long
LEFT_OUT = ("pip", "pytest", "tensorboard", "benchmarks/")
LEFT_OUT_TASKS = ("antmaze", "visual-")
FOREIGN = "low_dim.hdf5"  # of robomimic


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in the bash blocks of a Markdown text."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


def small(words: list[str]) -> list[str] | None:
    """The command at debug size, or None where it is left out.

    Raises ValueError for a command that nothing here knows.
    """
    if "python" in words[:1]:
        words = words[1:]
    if words[0].startswith(LEFT_OUT) or FOREIGN in words:
        return None
    if _value(words, "--task").startswith(LEFT_OUT_TASKS):
        return None
    if words[0] == "train_offline.py":
        small = [words[0], *_with_debug(words[1:])]
        # two episodes come near no goal
        of_goals = any(word.startswith("ogbench") for word in words)
        return [*small, "--data.skip_bad"] if of_goals else small
    if words[0] == "eval.py":
        serves = words[-1] == "--explore"  # which never ends
        return None if serves else _with_small_sizes(words)
    if words[0].startswith("examples/"):
        return words
    if words[:2] == ["-m", "vd4rl_loader"]:
        return _small_loader(words)
    if words[:3] == ["-m", "dreamer_leq", "sweep"]:
        return [*words[:3], str(ROOT / words[3]), "--dry-run"]
    raise ValueError(f"what is this command in the README? {shlex.join(words)}")


def _with_debug(flags: list[str]) -> list[str]:
    """`debug` after the other presets, which it overrides; without any it is the
    demo's.
    """
    if "--configs" not in flags:
        return ["--configs", "demo", "debug", *flags]
    first = flags.index("--configs") + 1
    rest = [i for i in range(first, len(flags)) if flags[i].startswith("--")]
    end = rest[0] if rest else len(flags)
    return [*flags[:end], "debug", *flags[end:]]


def _with_small_sizes(words: list[str]) -> list[str]:
    words = list(words)
    for flag in DEBUG_SIZES.keys() & set(words):
        words[words.index(flag) + 1] = DEBUG_SIZES[flag]
    return words


def _small_loader(words: list[str]) -> list[str]:
    if words[2] == "collect":
        return _with_small_sizes(words)
    if words[2] == "download" and _value(words, "--suite") == "ogbench":
        return _collected_ogbench(words)
    if words[2] == "download" and _value(words, "--suite") in STATE_SUITES:
        return _collected_states(words)
    if words[2] == "download":
        episodes = DEBUG_SIZES["--episodes"]
        instead = ["collect", "--render", "fast", "--episodes", episodes]
        return [*words[:2], *instead, *words[3:]]
    return words


def _collected_states(words: list[str]) -> list[str]:
    """A hopper's states under the published name of what would be downloaded."""
    suite, file = _value(words, "--suite"), expected_file(_value(words, "--task"))
    out = f"{_value(words, '--out')}/{file}"
    what = ["--suite", "gymnasium", "--task", "Hopper-v4", "--format", suite]
    size = ["--level", "medium_replay", "--steps", DEBUG_SIZES["--steps"]]
    return [*words[:2], "collect", *what, *size, "--out", out]


def _collected_ogbench(words: list[str]) -> list[str]:
    """Two episodes under the published name."""
    task = _value(words, "--task")
    out = f"{_value(words, '--out')}/{expected_file(task)}"
    what = ["--suite", "ogbench", "--task", task, "--episodes", "2"]
    return [*words[:2], "collect", *what, "--out", out]


def _value(words: list[str], flag: str) -> str:
    """What follows a flag, or nothing."""
    return words[words.index(flag) + 1] if flag in words else ""


def main() -> None:
    for words in commands(README.read_text()):
        if command := small(words):
            if command[0].endswith(".py"):
                command[0] = str(ROOT / command[0])
            print(shlex.join(["python", *command]))


if __name__ == "__main__":
    main()
