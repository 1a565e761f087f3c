"""The example of docs/api.md, as people run it; then what it draws of pixels."""

import re

import imageio.v3 as imageio
import numpy as np
from small_runs import maze_run
from workplace import ROOT


def test_it_asks_a_run(tmp_path, monkeypatch, capsys):
    flags = ["--logdir", str(maze_run(tmp_path)), "--out", str(tmp_path / "out.png")]
    monkeypatch.setattr("sys.argv", ["ask_a_run.py", *flags])
    monkeypatch.setenv("MPLBACKEND", "agg")
    names, example = {}, ROOT / "examples/ask_a_run.py"
    exec(compile(example.read_text(), example, "exec"), names)
    output, errors = capsys.readouterr()
    assert errors == "" and "2 members that see vector" in output
    assert re.search(r"wrote .*out.png\n.*\nreturn [01] in \d+ steps\n$", output)
    picture = imageio.imread(tmp_path / "out.png")
    assert picture.shape[:2] == (480, 1560) and picture.std() > 10
    images = np.zeros((2, names["horizon"], 8, 8, 3), np.uint8)
    names["expected"] = {"image": images}
    names["episode"] |= {"image": np.zeros((names["last"] + 1, 8, 8, 3), np.uint8)}
    names["plot_images"](figure := names["plt"].figure())
    assert len(figure.axes) == 3 * 6 + 1  # data and 2 members, and the rewards
