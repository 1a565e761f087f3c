"""Downloads of state vectors, through a stand-in for the way to the servers.

The stand-in is an HTTP proxy on this machine: it sees the addresses that are asked for.
"""

import http.server
import threading

import pytest
from states.layouts import rows, write_d4rl

from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states
from vd4rl_loader.states.published import URLS, download_states, url

HOPPER = (
    "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/"
    "hopper_medium_replay-v2.hdf5"
)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers with `content`, which claims to be `extra` bytes longer."""

    content, extra, asked = b"", 0, None

    def do_GET(self):
        self.asked.append(self.path)
        if not self.content:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content) + self.extra))
        self.end_headers()
        self.wfile.write(self.content)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy(tmp_path, monkeypatch):
    content = write_d4rl(
        tmp_path / "source.hdf5", rows([(9, None)], size=11, actions=3)
    ).read_bytes()
    handler = type("TestProxy", (Proxy,), {"content": content, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield handler
    server.shutdown()
    server.server_close()


def run(out, *arguments):
    return main(["download", *arguments, "--out", str(out)])


def test_a_file_is_fetched_once(tmp_path, proxy, capsys):
    out = tmp_path / "new" / "data"
    for _ in range(2):
        assert run(out, "--suite", "d4rl", "--task", "hopper-medium-replay") == 0
        path = out / "hopper_medium_replay-v2.hdf5"
        assert capsys.readouterr().out == f"{path}\n"
    assert proxy.asked == [HOPPER]
    assert path.read_bytes() == proxy.content
    assert [file.name for file in out.iterdir()] == [path.name]
    dataset = open_states(out, "hopper-medium-replay", log=lambda line: None)
    assert dataset.statistics()["steps"] == 9


def test_the_other_suite(tmp_path, proxy):
    assert run(tmp_path, "--suite", "neorl", "--task", "Walker2d-v3-high") == 0
    name = "Walker2d-v3-high-1000-train-noise.npz"
    assert proxy.asked == [f"http://datasets.polixir.site/v2/Walker2d-v3/{name}"]
    assert (tmp_path / name).is_file()


def test_validation_comes_along(tmp_path, proxy, monkeypatch, capsys):
    name = "cube-single-play-v0"
    monkeypatch.setitem(URLS, "ogbench", {name: f"http://host/sets/{name}.npz"})
    for task in ("cube-single-play-singletask-task3-v0", "cube-single-play"):
        assert run(tmp_path, "--suite", "ogbench", "--task", task) == 0
        assert capsys.readouterr().out == f"{tmp_path / name}.npz\n"
    asked = [f"http://host/sets/{name}{part}.npz" for part in ("-val", "")]
    assert proxy.asked == asked
    assert (tmp_path / f"{name}-val.npz").is_file()


def test_the_suite_may_be_left_to_the_task(tmp_path, proxy):
    path = download_states("antmaze-umaze", tmp_path)
    assert path.name.endswith("_False_multigoal_False_sparse_fixed.hdf5")


@pytest.mark.parametrize("defect", ["missing", "cut short", "no way"])
def test_failures_leave_nothing(tmp_path, proxy, capsys, monkeypatch, defect):
    reason = "HTTP Error 404: Not Found"
    if defect == "missing":
        proxy.content = b""
    elif defect == "cut short":
        proxy.extra = 5
        size = len(proxy.content)
        reason = f"{size:,} of {size + 5:,} bytes arrived"
    else:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        reason = "<urlopen error [Errno 111] Connection refused>"
    out = tmp_path / "out"
    assert run(out, "--suite", "d4rl", "--task", "hopper-medium-replay") == 2
    path = out / "hopper_medium_replay-v2.hdf5"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {path}: downloading {HOPPER} failed ({reason}): try again"
    )
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be(tmp_path, proxy, capsys):
    (tmp_path / "file").touch()
    assert run(tmp_path / "file", "--suite", "d4rl", "--task", "hopper-medium") == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'file'}")
    assert proxy.asked == []


def test_tasks_of_other_suites(tmp_path, proxy, capsys):
    assert run(tmp_path, "--suite", "neorl", "--task", "hopper-medium") == 2
    assert capsys.readouterr().err == (
        "error: task 'hopper-medium': no such published dataset in neorl "
        "(did you mean Hopper-medium?)\n"
    )


def test_addresses_of_ogbench():
    expected = "https://rail.eecs.berkeley.edu/datasets/ogbench/scene-noisy-v0.npz"
    for task in ("scene-noisy-singletask-task5-v0", "scene-noisy-v0", "scene-noisy"):
        assert url(task, "ogbench") == expected


def test_vd4rl_needs_a_level(tmp_path, capsys):
    assert run(tmp_path, "--task", "walker_walk") == 2
    assert capsys.readouterr().err == (
        "error: --level is missing: give V-D4RL's, such as medium_expert\n"
    )
