"""README.md of a shared run: the model card that the Hugging Face hub shows."""

import shlex

from dreamer_leq import config as configs
from dreamer_leq.config.tree import WORLD_MODELS
from dreamer_leq.pages.parts import interval, shown
from dreamer_leq.pages.report.scores import Scores, scores_of
from dreamer_leq.pages.run_files import RunFiles
from dreamer_leq.system.errors import UserError

FILE = "README.md"
PLACE = "path/to/this/folder"  # of a run that is shared without the hub
_KINDS = ("reinforcement-learning", "offline-reinforcement-learning", "world-model")


def card(run: RunFiles, address: str) -> str:
    """The card's metadata and text; `address` is what others load the run by.

    Raises UserError where the hub's client, which checks the metadata, is missing.
    """
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ImportError:
        raise UserError(
            "sharing needs huggingface_hub: pip install 'dreamer-leq[share]'"
        ) from None
    task, scores, results = run.config.task, scores_of(run), None
    if scores.policy:
        result = dict(metric_type="mean_reward", metric_name="mean reward")
        result |= dict(metric_value=round(scores.policy.mean, 4), verified=False)
        about = dict(task_type=_KINDS[0], dataset_type=task, dataset_name=task)
        results = [EvalResult(**about, task_name="reinforcement learning", **result)]
    data = ModelCardData(
        library_name="dreamer-leq",
        license="mit",
        pipeline_tag=_KINDS[0],
        tags=[*_KINDS, run.algorithm, task],
        model_name=f"{run.title(run.algorithm)} on {task}",
        eval_results=results,
    )
    return f"---\n{data.to_yaml().strip()}\n---\n\n{_text(run, scores, address)}"


def _text(run: RunFiles, scores: Scores, address: str) -> str:
    config, task = run.config, run.config.task
    world = WORLD_MODELS[config.world_model].title
    lines = [
        f"# {run.title(run.algorithm)} on {task}\n",
        f"A policy that {run.title(run.algorithm)} trained offline on the dataset of "
        f"`{task}`; world model: {world}. Made with dreamer-leq.\n",
        *_scores(scores, run.unit),
        "## Use it\n",
        "```python\n# in a checkout of dreamer-leq: pip install -e '.[share]'\n"
        "import dreamer_leq as dl\n\n"
        f'run = dl.load_run("{address}")\n'
        "with run.make_env(seed=0) as env:\n"
        "    entry, memory = env.reset(), run.initial()\n"
        '    while not entry["is_last"]:\n'
        "        action, memory = run.act(memory, entry)\n"
        "        entry = env.step(action)\n```\n",
        f"```bash\npython eval.py --logdir {shlex.quote(address)} --episodes 10\n```\n",
        "## How it was trained\n",
        f"```bash\n{shlex.join(configs.command(config))}\n```\n",
        *_versions(run),
        "`report.html` shows scores, curves and videos; `config.yaml` has every key, "
        "`metrics.jsonl` what was logged, `checkpoints/` the networks as "
        "safetensors.\n",
        "The code is under the MIT licence, and so is this run where its author has "
        "not said otherwise; the dataset has a licence of its own.\n",
    ]
    return "\n".join(lines)


def _scores(scores: Scores, unit: str) -> list[str]:
    if not scores.rows:
        return ["It has not been scored.\n"]
    table = [f"| | {unit} | 95 % interval | episodes |", "|---|---|---|---|"]
    for name, score in scores.rows:
        span = interval(score.ci_low, score.ci_high, unit) if score.episodes else ""
        count = score.episodes or ""
        table.append(f"| {name} | {shown(score.mean, unit)} | {span} | {count} |")
    return ["\n".join(table) + "\n"]


def _versions(run: RunFiles) -> list[str]:
    if not run.info:
        return []
    packages = [f"{name} {is_}" for name, is_ in run.info.packages.items() if is_]
    commit = run.info.git and run.info.git.commit
    found = [
        f"Python {run.info.python}",
        *packages,
        *([f"commit {commit}"] * bool(commit)),
    ]
    return [f"With {', '.join(found)}.\n"]
