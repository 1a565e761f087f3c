"""A run given to others in a folder, or on a stand-in of the hub by its real client."""

import json
import os
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import vd4rl_files
from model_hub import COMMIT, model_hub
from report_files import leq_records, score, write_film, write_json, write_records
from untrained import write_run

import dreamer_leq as dl
from dreamer_leq import cli
from dreamer_leq.config import from_presets
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.world_model import fit_world_model
from dreamer_leq.training.checkpoints import SharedCheckpoints
from vd4rl_loader.collection.pointmaze import collect_pointmaze

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("safetensors")
pytestmark = pytest.mark.filterwarnings("ignore:os.fork")

PIXELS = {"task": "walker_walk-expert", "data.image_size": 16}
LATENT = PIXELS | {"latent.image": "patch", "latent.mults": (2, 3)}
FRAMES = PIXELS | {"frames.stack": 2, "frames.depth": 1, "frames.mults": (1, 1)}
FILES = {"README.md", "checkpoints", "config.yaml", "info.json", "metrics.jsonl"}
FILES |= {"replay.mp4", "report.html", "scores.json"}
NAME = "someone/maze"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("machine-of-mine")


@pytest.fixture(scope="module")
def maze(place):
    """A run on state vectors with all that is shared."""
    data = collect_pointmaze("umaze", 300, 0, place / "maze.hdf5")
    write_run(place / "maze", data, "maze", task="pointmaze-umaze")
    write_records(place / "maze", leq_records())
    write_json(place / "maze/scores.json", {"0": score(0.1), "7": score(0.6)})
    write_film(place / "maze/videos/policy.mp4")
    return place / "maze"


@pytest.fixture(scope="module")
def shared(maze, place):
    """What became of it; its dataset is out of reach."""
    assert cli.eval_main(["--logdir", str(maze), "--share", f"{place}/given"]) == 0
    return place / "given"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with model_hub(monkeypatch, tmp_path / "cache") as found:
        yield found


@pytest.fixture
def on_hub(hub, shared):
    """Its files, by name, that the hub has."""
    files = {str(x.relative_to(shared)): x for x in shared.rglob("*") if x.is_file()}
    hub.files[NAME] = {name: file.read_bytes() for name, file in files.items()}
    return hub.files[NAME]


def actions(run):
    """Of some steps of two environments."""
    rng, memory, found = np.random.default_rng(0), run.initial(2, seed=1), []
    for t in range(3):
        vector = rng.normal(size=(2, 2)).astype(np.float32)
        seen = {"vector": vector, "is_first": np.full(2, t == 0)}
        action, memory = run.act(memory, seen)
        found.append(action)
    return np.stack(found)


def refused(logdir):
    """The line with which a run is not loaded."""
    with pytest.raises(dl.UserError) as error:
        dl.load_run(logdir).initial()
    assert "\n" not in str(error.value)
    return str(error.value)


# --- in a folder


def test_a_shared_folder_holds_what_others_need_and_no_path_of_ours(shared, place):
    assert {path.name for path in shared.iterdir()} == FILES
    weights = {path.name for path in (shared / "checkpoints").iterdir()}
    assert weights == {"world_model.safetensors", "leq.safetensors"}
    for file in filter(os.path.isfile, shared.rglob("*")):
        assert place.name not in file.read_bytes().decode("latin-1"), file
    report = (shared / "report.html").read_text()
    assert "given" in report and "data:video/mp4" in report
    info = json.loads((shared / "info.json").read_text())
    assert info["dataset"]["path"] == "maze.hdf5"


def test_the_card_is_one_that_the_hub_understands(shared):
    found = huggingface_hub.metadata_load(shared / "README.md")
    assert found["pipeline_tag"] == "reinforcement-learning"
    assert found["library_name"] == "dreamer-leq" and found["license"] == "mit"
    card = huggingface_hub.ModelCard.load(shared / "README.md")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("mean_reward", 0.6)
    assert result.dataset_name == "pointmaze-umaze"
    assert "train_offline.py --configs" in card.text and "maze.hdf5" in card.text
    assert "load_run(" in card.text and "flax" in card.text


def test_what_is_loaded_acts_bit_for_bit_as_the_run_does(maze, shared):
    run = dl.load_run(shared)
    np.testing.assert_array_equal(actions(run), actions(dl.load_run(maze)))
    with run.make_env(seed=0) as env:  # and dreams from what it meets
        entry = env.reset()
    start = {name: np.asarray(x)[None] for name, x in entry.items()}
    latents = run.encode(start | {"action": np.zeros((1, 2))})
    assert run.imagine(latents, horizon=2).reward.shape == (1, 2)


@pytest.mark.parametrize("kind", ["latent", "frames"])
def test_every_kind_of_world_model_is_given(place, kind):
    images = place / "images/main/walker_walk/expert/64px"
    if not images.exists():
        episodes = [vd4rl_files.episode(seed, length=20) for seed in (0, 1)]
        vd4rl_files.write_folder(images, episodes)
    presets = {"latent": (), "frames": ("drq_bc", "small_frames")}[kind]
    keys = {"latent": LATENT, "frames": FRAMES}[kind]
    old = write_run(place / kind, images, *presets, **keys)
    command = ["--logdir", str(old.path), "--share", f"{place}/given-{kind}"]
    assert cli.eval_main(command) == 0
    pair = [(run.load_world_model(), run.load_agent()) for run in (
        old, RunFolder(place / f"given-{kind}")
    )]  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, *pair)


def test_its_world_model_serves_another_run(shared, maze, tmp_path):
    config = replace(RunFolder(maze).config, seed=3, logdir=str(tmp_path / "new"))
    source, new = RunFolder(shared), RunFolder(tmp_path / "new")
    source.refuse_to_pretrain(config, source.facts)
    new.begin(config, source.facts)
    assert "the world model of" in new.take_over(source, config)
    assert not (tmp_path / "new/checkpoints/leq.safetensors").exists()
    old = RunFolder(maze).load_world_model()
    for kind in (lambda own: own, SharedCheckpoints):  # on one device, on a mesh
        session = SimpleNamespace(checkpoints=kind(new.checkpoints(1)))
        run = SimpleNamespace(config=config, facts=new.facts, session=session)
        jax.tree.map(np.testing.assert_array_equal, fit_world_model(run), old)


def test_training_does_not_go_on_in_it(shared):
    folder = RunFolder(shared)
    with pytest.raises(dl.UserError, match=r"shared run.*--pretrained"):
        folder.refuse_other(folder.config)


def test_what_can_not_be_shared_is_one_line(maze, place, tmp_path, capsys):
    def share(to, run=maze):
        assert cli.eval_main(["--logdir", str(run), "--share", str(to)]) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1
        return line

    assert "there is something" in share(maze)
    assert "USER/NAME" in share("runs") and "USER/NAME" in share("a/b/c")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.parent)
        assert "hf://" in share(f"{place.name}/maze")
    grid = write_run(
        tmp_path / "grid", place / "maze.hdf5", "maze", task="pointmaze-umaze"
    )
    text = (grid.path / "config.yaml").read_text()
    (grid.path / "config.yaml").write_text(text.replace("seeds: 1", "seeds: 2"))
    line = share(tmp_path / "given", grid.path)
    assert "is a grid; give one of its runs" in line and "seed1" in line
    assert {path.name for path in tmp_path.iterdir()} == {"grid"}


@pytest.mark.parametrize(
    "name", ["config.yaml", "checkpoints", "checkpoints/leq.safetensors"]
)
def test_links_lead_nowhere(shared, tmp_path, name):
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "given"
    for file in filter(os.path.isfile, shared.rglob("*")):
        target = folder / file.relative_to(shared)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (folder / name).rename(tmp_path / "outside/it")
    (folder / name).symlink_to(tmp_path / "outside/it")
    assert "leads out of the folder" in refused(folder)


# --- on the hub


def test_a_run_goes_to_the_hub_and_comes_back(maze, shared, hub, tmp_path, capsys):
    hub.files[NAME] = {"checkpoints/bc.safetensors": b"of another run"}
    assert cli.eval_main(["--logdir", str(maze), "--share", NAME]) == 0
    assert f'dl.load_run("hf://{NAME}")' in capsys.readouterr().out
    given = {str(x.relative_to(shared)) for x in shared.rglob("*") if x.is_file()}
    assert hub.files[NAME].keys() == given
    assert f'load_run("hf://{NAME}")' in hub.files[NAME]["README.md"].decode()
    run = dl.load_run(f"hf://{NAME}")
    np.testing.assert_array_equal(actions(run), actions(dl.load_run(maze)))
    needed = ["config.yaml", "info.json"]
    needed += ["checkpoints/leq.safetensors", "checkpoints/world_model.safetensors"]
    assert set(hub.served) == set(needed)
    for revision in ("v1", COMMIT):
        assert dl.load_run(f"hf://{NAME}", revision=revision).path == run.path
    with pytest.raises(dl.UserError, match=r"@v2: can't be fetched \(.*404"):
        dl.load_run(f"hf://{NAME}", revision="v2")
    command = ["--logdir", f"hf://{NAME}", "--episodes", "1", "--workers", "1"]
    assert cli.eval_main(command) == 0
    assert "not kept" in capsys.readouterr().out
    news = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert news == {"cache"} and not any("eval" in x.name for x in tmp_path.rglob("*"))
    hub.files.clear()  # out of reach: what was fetched is there
    assert dl.load_run(f"hf://{NAME}").path == run.path


def deep(files):
    files["info.json"] = b"[" * 100_000 + b"]" * 100_000


def huge(files):
    files["checkpoints/leq.safetensors"] = (2**50).to_bytes(8, "little") + b"{}"


def swapped(files):
    other = files["checkpoints/world_model.safetensors"]
    files["checkpoints/leq.safetensors"] = other


def wider(files):
    text = files["config.yaml"].decode()
    text, count = re.subn(r"\bunits: \d+", "units: 999999", text)
    files["config.yaml"] = text.encode()
    assert count


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.update({"../evil": b""}), "no name of a shared file"),
        (lambda files: files.update({"/etc/evil": b""}), "no name of a shared file"),
        (lambda files: files.update({"a\\..\\evil": b""}), "no name of a shared file"),
        (
            lambda files: files.update({"checkpoints/../../x.safetensors": b""}),
            "no name of a shared file",
        ),
        (lambda files: files.pop("config.yaml"), "it has no config.yaml"),
        (lambda files: files.update({"config.yaml": b"#" * (2 << 20)}), "more than"),
        (deep, "not valid JSON"),
        (huge, "its header would have"),
        (swapped, "lacks params"),
        (wider, "of another model"),
    ],
)
def test_a_hostile_repository_is_one_line(on_hub, tmp_path, change, said):
    change(on_hub)
    assert said in refused(f"hf://{NAME}")
    there = {path.name for path in tmp_path.iterdir()}
    assert there <= {"cache"} and not list(tmp_path.parent.glob("evil"))


@pytest.mark.parametrize("address", ["hf://", "hf://a", "hf://a/b/c", "hf://../b"])
def test_what_is_no_address(address):
    assert "hf://USER/NAME" in refused(address)
    with pytest.raises(dl.UserError, match="pretrained: has to be a run's folder, or"):
        from_presets("debug", pretrained=address)


def test_a_folder_has_no_revisions(shared):
    with pytest.raises(dl.UserError, match=r"'v1': .*given is not on the hub"):
        dl.load_run(shared, revision="v1")


def test_a_wrong_address_on_the_command_line(capsys):
    assert cli.eval_main(["--logdir", "hf://a", "--episodes", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: 'hf://a' is not a run's folder")


def test_without_the_extra(monkeypatch, maze, tmp_path, capsys):
    for name in ("safetensors.numpy", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
        command = ["--logdir", str(maze), "--share", f"{tmp_path}/given"]
        assert cli.eval_main(command) == 2
        assert "pip install 'dreamer-leq[share]'" in capsys.readouterr().err
        monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'dreamer-leq[share]'" in refused("hf://a/b")
    assert not list(tmp_path.iterdir())
