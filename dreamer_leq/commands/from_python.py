"""Training from Python."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamer_leq import config as configs
from dreamer_leq.commands.train import train
from dreamer_leq.system.devices import Devices
from dreamer_leq.system.interrupts import Interrupted


def train_offline(
    *presets: str, log: Callable[[str], None] = print, **keys: Any
) -> Path:
    """The folder of a run, trained as train_offline.py does; where one is begun there,
    it goes on. A grid's folder holds a run's for each coefficient and seed.

    Signals are handled meanwhile, which Python allows in the main thread only.

    Args:
      presets: names of configs.yaml, each over the one before: "maze", "debug".
      log: receives lines for the user.
      keys: of configs.yaml, over the presets; dotted ones as `**{"leq.tau": 0.3}`.

    Raises:
      UserError: a preset or key doesn't exist, a value can't be, or the folder holds a
        run with other settings.
      DataError: there is no such dataset, or it is unusable.
      KeyboardInterrupt: after Ctrl-C; what was trained is saved. SIGTERM ends in
        SystemExit in the same way.

    Example:
      logdir = dl.train_offline("maze", logdir="runs/maze", **{"leq.tau": 0.3})
      run = dl.load_run(logdir)
    """
    config = configs.from_presets(*presets, **keys)
    try:
        with warnings.catch_warnings():
            # the forks are subprocess's, which become git or ffmpeg at once
            warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
            return train(config, log, Devices.of(config.mesh_axes)).path
    except Interrupted as stop:
        if stop.code == 130:
            raise KeyboardInterrupt(str(stop)) from None
        raise SystemExit(stop.code) from None
