"""Keys of the configuration that change nothing that is learned."""

# They may differ when a run goes on, and make no other method of it.
FREE_KEYS = (
    "logdir",
    "pretrained",  # what was taken over is not needed again
    "env",
    "mesh",
    "data.path",
    "data.skip_bad",
    "data.cache_dir",
    "data.placement",
    "latent.remat",
    "checkpoint.every",
    "checkpoint.keep",
    "checkpoint.keep_best",
    "log.every",
    "log.wandb",
    "eval.episodes",
    "eval.every",
    "eval.workers",
    "eval.seed",
    "eval.time_limit",
    "analysis.sequences",
    "analysis.horizon",
    "analysis.episodes",
    "analysis.states",
    "analysis.seed",
    "video.sequences",
    "video.length",
    "video.context",
)
