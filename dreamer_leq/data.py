"""The dataset of a run: read from disk, or made here from the bundled policies."""

from collections.abc import Callable
from pathlib import Path

from dreamer_leq.config import Config
from dreamer_leq.errors import UserError
from vd4rl_loader import Dataset, open_dataset
from vd4rl_loader.collect import collect

DATASETS = Path("datasets")


def open_data(config: Config, log: Callable[[str], None]) -> tuple[Dataset, str]:
    """The dataset of `config`, and where it lies. Collected datasets are kept and
    reused.

    Raises UserError where there is none and none is to be made, DataError where what is
    there can't be used.
    """
    path = config.data.path or _collected(config, log)
    dataset = open_dataset(
        path,
        config.environment,
        config.level,
        image_size=config.data.image_size,
        min_length=config.latent.length,
        skip_bad=config.data.skip_bad,
        log=log,
    )
    return dataset, str(path)


def _collected(config: Config, log: Callable[[str], None]) -> str:
    made = config.collect
    if not made.episodes:
        raise UserError(
            "no dataset: give its folder with --data DIR, or have one made from the "
            "bundled policies with --collect.episodes 100"
        )
    out = (
        DATASETS / f"{made.render}-{made.episodes}x-noise{made.noise:g}-seed{made.seed}"
    )
    log(f"dataset: {made.episodes} episodes of {config.task}, rendered here to {out}")
    collect(
        config.environment,
        config.level,
        made.episodes,
        made.seed,
        out,
        render=made.render,
        size=config.data.image_size,
        noise=made.noise or None,
    )
    return str(out)
