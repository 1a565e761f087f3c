"""Keys of the configuration that change nothing that is learned."""

# They may differ when a run goes on, and make no other method of it.
FREE_KEYS = (
    "logdir",
    "mesh",
    "data.path",
    "data.skip_bad",
    "data.cache_dir",
    "data.placement",
    "latent.remat",
    "checkpoint.every",
    "checkpoint.keep",
    "log.wandb",
    "eval.workers",
    "analysis.sequences",
    "analysis.horizon",
    "analysis.episodes",
    "analysis.states",
    "analysis.seed",
    "video.sequences",
    "video.length",
    "video.context",
)
