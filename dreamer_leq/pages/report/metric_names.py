"""What the metrics are: the group in which the page shows each, and a few words."""

WORLD_MODEL, VALUES, POLICY, EVALUATION, SPEED = (
    "World model",
    "Values",
    "Policy",
    "Evaluation",
    "Time and memory",
)
GROUPS = (WORLD_MODEL, VALUES, POLICY, EVALUATION, SPEED)

# The group of what is not named below.
_BY_PHASE = {"bc": POLICY, "fqe": VALUES, "leq": VALUES}

METRICS = {
    "loss": (WORLD_MODEL, "all terms together"),
    "image_loss": (WORLD_MODEL, "squared error of the reconstruction, per image"),
    "vector_loss": (WORLD_MODEL, "squared error of the symlog of the state vector"),
    "reward_loss": (WORLD_MODEL, "cross entropy of the two-hot reward"),
    "cont_loss": (WORLD_MODEL, "cross entropy of termination"),
    "dyn_loss": (WORLD_MODEL, "KL of posterior and priors, that trains the priors"),
    "rep_loss": (WORLD_MODEL, "the same KL, that trains the posterior"),
    "posterior_entropy": (WORLD_MODEL, "nats in the stochastic state"),
    "grad_norm": (WORLD_MODEL, "norm of the gradient"),
    "nll": (WORLD_MODEL, "negative log likelihood of change and reward"),
    "mse": (WORLD_MODEL, "squared error of change and reward"),
    "termination_loss": (WORLD_MODEL, "cross entropy of termination"),
    "holdout_error": (WORLD_MODEL, "squared error on held-out transitions"),
    "best_holdout_error": (WORLD_MODEL, "of the parameters that are kept"),
    "improved_members": (WORLD_MODEL, "members that got better in the epoch"),
    "imagined_reward": (WORLD_MODEL, "mean reward of an imagined step"),
    "imagined_cont": (WORLD_MODEL, "mean chance to go on after an imagined step"),
    "q": (VALUES, "Q of the states where imagination starts"),
    "lambda_return": (VALUES, "λ-return of imagination from there"),
    "data_target": (VALUES, "Bellman target of dataset transitions"),
    "return": (VALUES, "discounted return of dataset transitions"),
    "return_above_q": (VALUES, "share of λ-returns above Q; at 0.5 Q is their median"),
    "return_scale": (VALUES, "5th to 95th percentile of the λ-returns"),
    "critic_loss": (VALUES, "loss of the critic"),
    "actor_loss": (POLICY, "loss of the policy"),
    "bc_loss": (POLICY, "squared distance to the dataset's actions"),
    "action_magnitude": (POLICY, "mean size of an action's entries, at most 1"),
    "eval_mean": (EVALUATION, "in the environment, with its 95 % interval"),
    "eval_length": (EVALUATION, "actions in an episode"),
    "updates_per_second": (SPEED, "without compilation"),
    "peak_memory": (SPEED, "of the process so far, in bytes"),
    "peak_device_memory": (SPEED, "of one device so far, in bytes"),
}
# Parts of `eval_mean`'s curve, or the same in another unit; and the clock itself.
HIDDEN = (
    "eval_std",
    "eval_ci_low",
    "eval_ci_high",
    "eval_normalized",
    "eval_seconds",
    "wall",
    "process_seconds",
)
CLOCK = ("updates_per_second", "peak_memory", "peak_device_memory")


def group(phase: str, name: str) -> str:
    """The group of a metric, of one that is not named above too."""
    return METRICS[name][0] if name in METRICS else _BY_PHASE.get(phase, WORLD_MODEL)


def words(name: str) -> str:
    return METRICS[name][1] if name in METRICS else ""
