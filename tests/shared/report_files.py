"""Run folders for the report, as training, eval.py and the analyses leave them."""

import json

import numpy as np

from dreamer_leq import config as configs
from dreamer_leq.evaluation.videos import write_video

HORIZON = [1, 2, 3, 4]
MODEL_SENTENCE = "The model's errors stay < half of the baseline & then grow."
VALUE_SENTENCE = "Q promises 12 % more than the policy gets."
OFFLINE_SENTENCE = "FQE says 50 on held-out data."
GIB = 2.0**30
ENVIRONMENT = {
    **{"suite": "dm_control", "task": "walker_walk", "action_repeat": 2},
    **{"image_size": 64, "render": {"name": "fast", "camera": 0, "shadows": 0}},
}


def write_json(file, data):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))


def score(mean):
    spread = dict(mean=mean, std=5.0, ci_low=mean - 8, ci_high=mean + 9)
    about = dict(normalized=mean / 10, length=500.0, seconds=1.0)
    return dict(episodes=10, **spread, **about, returns=[mean], lengths=[500])


def info(path="datasets/walker", version="0.10.1"):
    statistics = dict(episodes=30, steps=15_000, return_mean=321.0, return_max=765.0)
    histogram = dict(edges=[0.0, 400.0, 765.0], counts=[20, 10])
    return dict(
        seed=0,
        dataset=dict(
            path=path,
            statistics=statistics,
            return_histogram=histogram,
            environment=ENVIRONMENT,
        ),
        python="3.11.7",
        platform="Linux x86_64",
        packages={"jax": version, "flax": None},
        git=dict(commit="2e76cb156615d40268be29b791b661edc4352fdb", dirty=True),
        devices=["cpu"],
        backend="cpu",
    )


def record(phase, step, seconds, **metrics):
    """A line of metrics.jsonl, `seconds` after the start of its process."""
    time = dict(wall=1e9 + seconds, process_seconds=seconds, peak_memory=2 * GIB)
    return dict(phase=phase, step=step, **metrics, time=time)


def world_model_records():
    return [
        record("world_model", 10 * i, 30.0 * i, loss=500.0 / i, image_loss=300.0 / i)
        for i in range(1, 13)
    ]


def leq_records(level=1.0, start=400.0):
    found = [
        record("leq", 0, start, eval_mean=100.0, eval_ci_low=90.0, eval_ci_high=115.0)
    ]
    for i in range(1, 13):
        values = dict(q=level * i, lambda_return=level * i + 1, actor_loss=0.1)
        found.append(record("leq", 10 * i, start + 10 * i, **values))
    return found


def write_records(folder, records):
    lines = (json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text("".join(lines))


def model_analysis():
    error = dict(
        mixture=[0.1, 0.2, 0.3, 0.4],
        members=[[0.1, 0.3, 0.4, 0.5], [0.2, 0.2, 0.3, 0.5]],
        low=[0.05, 0.1, 0.2, 0.3],
        high=[0.2, 0.3, 0.4, 0.5],
        baseline=[0.4, 0.6, 0.8, 0.9],
    )
    disagreement = dict(data=HORIZON, policy=HORIZON, random=HORIZON)
    return dict(
        context=5,
        horizon=HORIZON,
        episodes=6,
        error=dict(image=error, reward=error),
        disagreement=disagreement,
        units=dict(image="squared error"),
        sentence=MODEL_SENTENCE,
    )


def value_analysis(tau=0.1, bias=4.0):
    real = [10.0, 20.0, 30.0]
    one = dict(predicted=[x + bias for x in real], real=real, bias=bias)
    one |= dict(low=bias - 1.5, high=bias + 2.5, correlation=0.87)
    kinds = dict(q=one, lambda_return=one, imagined_return=one)
    about = dict(varying={"tau": tau}, discount=0.98, horizon=5, episodes=3)
    return dict(**about, **kinds, sentence=VALUE_SENTENCE)


def offline_analysis(tau=0.1, value=50.0):
    fqe = dict(value=value, low=value - 5, high=value + 5, residual=-1.0)
    calibration = dict(bias=-0.5, low=-1.0, high=0.25)
    about = dict(varying={"tau": tau}, fqe=fqe, calibration=calibration)
    return dict(**about, sentence=OFFLINE_SENTENCE)


def write_film(file):
    frames = np.zeros((20, 64, 64, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(20, dtype=np.uint8)[:, None, None] * 12
    write_video(file, frames)


def write_run(folder, config=None, film=False):
    """A finished and scored run with all analyses; returns the folder."""
    config = config or configs.from_presets("debug", seed=3)
    folder.mkdir(parents=True, exist_ok=True)
    configs.save(config, folder / "config.yaml")
    write_json(folder / "info.json", info())
    write_records(folder, world_model_records() + leq_records())
    write_json(folder / "scores.json", {"0": score(100.0), "120": score(612.0)})
    write_json(folder / "eval.json", dict(policy=score(634.0), random=score(41.0)))
    write_json(folder / "analysis/model.json", model_analysis())
    write_json(folder / "analysis/value.json", value_analysis())
    write_json(folder / "analysis/offline.json", offline_analysis())
    if film:
        write_film(folder / "videos/policy.mp4")
    return folder


def write_grid(folder):
    """A grid of two τ and two seeds; returns the folder."""
    keys = {"leq.tau": [0.1, 0.3], "seeds": 2, "logdir": str(folder)}
    config = configs.from_presets("debug", **keys)
    folder.mkdir(parents=True)
    configs.save(config, folder / "config.yaml")
    write_json(folder / "info.json", info())
    write_records(folder, world_model_records())
    evaluated = {"random": score(41.0)}
    for i, (name, own) in enumerate(config.members.items()):
        write_run(folder / name, own)
        write_records(folder / name, leq_records(level=1.0 + i))
        (folder / name / "eval.json").unlink()
        evaluated[name] = score(500.0 + 10 * i)
        analysis = value_analysis(own.leq.tau, bias=4.0 * i)
        write_json(folder / name / "analysis/value.json", analysis)
        analysis = offline_analysis(own.leq.tau, value=50.0 + i)
        write_json(folder / name / "analysis/offline.json", analysis)
    write_json(folder / "eval.json", evaluated)
    return folder


def write_eight_methods(root):
    """Two runs on two tasks of each of eight methods with long names; returns the
    arguments of --compare. The methods' means are 5, 15 … 75 % on both tasks.
    """
    arguments = []
    for task in ("walker_walk-medium_expert", "cheetah_run-medium"):
        for i in range(8):
            name = f"expectile {i} of critics that are pretrained and then left alone"
            for seed in (0, 1):
                folder = root / f"{task}-{i}-{seed}"
                keys = {"task": task, "seed": seed, "leq.updates": 120}
                write_run(folder, configs.from_presets("debug", **keys))
                scores = {"0": score(10.0), "120": score(100.0 * i + 100.0 * seed)}
                write_json(folder / "scores.json", scores)
                arguments.append(f"{name}={folder}")
    return arguments
