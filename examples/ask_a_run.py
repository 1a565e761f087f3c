"""What a run's world model expects, member by member, and what its policy does.

Run it as it is (it trains a point to find its way through a maze, 70 s of one core),
or with a run of your own:

    python examples/ask_a_run.py
    python examples/ask_a_run.py --logdir runs/walker_walk-medium_expert/seed0

Editors that know `# %%` (VS Code, PyCharm, Jupyter with jupytext) show a notebook. The
library's names are explained in docs/api.md. Needs `pip install -e '.[examples]'`.
"""

# %%
import argparse

import matplotlib.pyplot as plt
import numpy as np

import dreamer_leq as dl

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--logdir", help="folder of a run (default: train a small one)")
parser.add_argument("--data", help="its dataset, if it has moved")
parser.add_argument("--out", default="imagined.png", help="where the picture goes")
options, _ = parser.parse_known_args()  # a notebook has arguments of its own

# %% [markdown]
# ## A run
#
# The maze's data are short walks, none of which leads from the start to the goal. What
# `configs.yaml` calls `maze` takes minutes; here it gets a smaller maze and fewer
# updates. Where the folder holds such a run already, nothing is trained again.

# %%
logdir = options.logdir or dl.train_offline(
    "maze",
    task="pointmaze-umaze",
    logdir="runs/example",
    **{
        "collect.steps": 50_000,
        "ensemble.epochs": 4,
        "bc.updates": 1000,
        "leq.updates": 1000,
        "eval.episodes": 10,
    },
)
run = dl.load_run(logdir)
print(f"{run}: {run.members} members that see {run.observations[0]}")

# %% [markdown]
# ## An episode, encoded
#
# Entry t of an episode holds an observation, the action that led to it and the reward
# that came with it. Of the episode with the highest return, the world model sees all
# but the last entries.

# %%
dataset = run.open_dataset(options.data)
episode = dataset.episode(dataset.returns().argmax())
latents = run.encode(episode)

last = len(latents) - 1
now = max(last - 15, 0)
horizon = last - now
print(f"{last + 1} entries; from entry {now} on, {horizon} steps are imagined")

# %% [markdown]
# ## What each member expects of the same actions

# %%
later = slice(now + 1, last + 1)  # the entries to which the actions led
imagined = run.imagine(latents[now], episode["action"][later], member="all")
expected = run.decode(imagined.latents)

error = np.abs(imagined.reward - episode["reward"][later]).mean(1)
for member, value in enumerate(error):
    print(f"member {member}: mean error of the reward {value:.3g}")


# %%
def plot_rewards(axis):
    """Predicted rewards, a line per member, and the real ones."""
    steps = np.arange(1, horizon + 1)
    for member, reward in enumerate(imagined.reward):
        axis.plot(steps, reward, color=f"C{member}", label=f"member {member}")
    axis.plot(steps, episode["reward"][later], "k--", label="data")
    axis.set(title="reward", xlabel="steps from now")
    axis.legend(fontsize="small")


def plot_vectors(figure):
    """The numbers that change most, over time."""
    real, guesses = episode["vector"], expected["vector"]
    picks = np.sort(np.argsort(real.std(0))[-3:])
    axes = figure.subplots(1, len(picks) + 1)
    steps = np.arange(horizon + 1)
    for axis, pick in zip(axes, picks, strict=False):
        for member, guess in enumerate(guesses[..., pick]):
            axis.plot(steps, np.append(real[now, pick], guess), color=f"C{member}")
        axis.plot(steps, real[now:, pick], "k--")
        axis.set(title=f"vector[{pick}]", xlabel="steps from now")
    plot_rewards(axes[-1])


def plot_images(figure):
    """A row of frames per member below the real ones."""
    pictures, rewards = figure.subfigures(1, 2, width_ratios=(3, 2))
    shown = np.linspace(0, horizon - 1, 6).astype(int)
    rows = {"data": episode["image"][later]}
    rows |= {f"member {m}": frames for m, frames in enumerate(expected["image"])}
    axes = pictures.subplots(len(rows), len(shown))
    for line, (name, frames) in zip(axes, rows.items(), strict=True):
        for axis, step in zip(line, shown, strict=True):
            axis.imshow(frames[step])
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, step in zip(axes[0], shown, strict=True):
        axis.set_title(f"+{step + 1}", fontsize="small")
    plot_rewards(rewards.subplots())


figure = plt.figure(figsize=(13, 4), layout="constrained")
plot_images(figure) if "image" in run.observations else plot_vectors(figure)
figure.savefig(options.out, dpi=120)
print(f"wrote {options.out}")

# %% [markdown]
# ## Where the members disagree
#
# The policy imagines from many states at once. Where the members' states differ, the
# model knows little.

# %%
dream = run.imagine(latents, horizon=5, member="all")
spread = dream.latents.features.std(0).mean(-1)  # [T, 5]
print("disagreement after 1 to 5 steps:", spread.mean(0).round(3))

# %% [markdown]
# ## The policy in its environment

# %%
with run.make_env(seed=0) as env:
    entry = env.reset()
    memory = run.initial(seed=0)
    total, steps = float(entry["reward"]), 0
    while not entry["is_last"]:
        action, memory = run.act(memory, entry)
        entry = env.step(action)
        total, steps = total + float(entry["reward"]), steps + 1
print(f"return {total:g} in {steps} steps")
