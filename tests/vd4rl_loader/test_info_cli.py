"""`info`, and what all commands have in common."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from vd4rl_files import episode, write_folder

from vd4rl_loader import RenderStyle
from vd4rl_loader.__main__ import main
from vd4rl_loader.info import histogram


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "main" / "walker_walk" / "random" / "64px"
    write_folder(folder, [episode(i, size=64) for i in range(3)])
    record = {"render": RenderStyle.named("fast").to_json()}
    (folder / "dataset.json").write_text(json.dumps(record))
    return tmp_path


RETURNS = [float(episode(i, size=64)["reward"].sum()) for i in range(3)]


def test_the_table_tells_all(root, capsys):
    assert main(["info", str(root)]) == 0
    shown = capsys.readouterr().out
    for text in (
        "walker_walk/random",
        "64×64",
        "207",  # steps
        f"{min(RETURNS):.1f} / {np.mean(RETURNS):.1f} / {max(RETURNS):.1f}",
        "6 numbers, -",
        "MB",
        "fast: 64 px, camera 0, no effects",
        "█",
    ):
        assert text in shown, text


def test_json_is_the_only_thing_on_standard_output(root, capsys):
    assert main(["info", str(root), "--task", "walker_walk", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["episodes"] == 3
    assert shown["return_mean"] == pytest.approx(np.mean(RETURNS))
    assert shown["render"]["name"] == "fast"
    assert shown["level"] == "random"


def test_the_contact_sheet_shows_frames_from_worst_to_best(root, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["info", str(root), "--contact-sheet", str(sheet)]) == 0
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (3 * 66, 72 + 10 * 66, 3)
    for row, seed in enumerate(np.argsort(RETURNS)):
        images = episode(seed, size=64)["image"]
        strip = pixels[row * 66 : row * 66 + 64, 72:]
        np.testing.assert_array_equal(strip[:, 2:66], images[0])
        np.testing.assert_array_equal(strip[:, -64:], images[-1])
        assert pixels[row * 66 : row * 66 + 64, :72].max() > 200  # the label


def test_the_histogram():
    assert histogram(np.array([0.0, 0, 0, 0, 1, 2, 2]), bins=4) == "█ ▂▄"
    assert histogram(np.array([5.0])).count("█") == 1
    assert len(histogram(np.arange(1000.0))) == 20


def test_bad_files_are_one_line_each(root, capsys):
    folder = root / "main/walker_walk/random/64px"
    (folder / "x.npz").write_bytes(b"")
    (folder / "y.npz").write_bytes(b"")
    assert main(["info", str(root)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    first, *lines = [
        line for line in shown.err.splitlines() if not line.startswith("reading")
    ]
    assert first.startswith("error: ")
    assert "2 of 5 files" in first
    assert [line.split(":")[0] for line in lines] == ["  x.npz", "  y.npz"]
    assert main(["info", str(root), "--skip-bad"]) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["info", "{root}/nowhere"], "error: {root}/nowhere: no such file or folder"),
        (["info", "{root}", "--task", "x"], "error: {root}: nothing for task 'x'"),
        (
            ["info", "{root}", "--contact-sheet", "{root}/no/sheet.png"],
            "error: {root}/no/sheet.png: cannot be written",
        ),
    ],
)
def test_errors_of_the_users(root, capsys, arguments, expected):
    assert main([a.format(root=root) for a in arguments]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert any(line.startswith(expected.format(root=root)) for line in shown)


@pytest.mark.parametrize("command", ["info", "collect", "convert", "download"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "--" in capsys.readouterr().out


def test_the_commands_are_listed(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("info", "collect", "convert", "download"))
    assert main(["inform"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "'inform'" in said and said.count("\n") == 1


def test_as_a_module(root):
    command = [sys.executable, "-m", "vd4rl_loader", "info", str(root / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: {root / 'nowhere'}: no such file or folder\n"


def test_importing_the_package_is_light():
    code = "import vd4rl_loader, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    heavy = {"jax", "dm_control", "mujoco", "h5py", "PIL", "rich", "huggingface_hub"}
    assert not loaded & heavy
