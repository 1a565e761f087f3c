"""The real hub client against a stand-in for the hub on this machine."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from vd4rl_files import assert_holds, episode, stream, write_folder, write_hdf5

from vd4rl_loader import open_dataset
from vd4rl_loader.__main__ import main

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
API = "/api/datasets/conglu/vd4rl"
RESOLVE = f"/datasets/conglu/vd4rl/resolve/{COMMIT}/"


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what the client asks for a public dataset; `root` has its files."""

    root = None
    served = None

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith(RESOLVE):
            return self._send_file(path.removeprefix(RESOLVE))
        if path.startswith(f"{API}/tree/"):
            return self._send_json([self._entry(name) for name in self._names()])
        if path in (API, f"{API}/revision/main"):
            siblings = [{"rfilename": name} for name in self._names()]
            info = {"id": "conglu/vd4rl", "sha": COMMIT, "siblings": siblings}
            return self._send_json(info)
        return self.send_error(404)

    def _names(self):
        paths = sorted(self.root.rglob("*"))
        return [str(p.relative_to(self.root)) for p in paths if p.is_file()]

    def _entry(self, name):
        content = (self.root / name).read_bytes()
        entry = {"type": "file", "path": name, "size": len(content)}
        return entry | {"oid": hashlib.sha1(content).hexdigest()}

    def _send_json(self, value):
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_file(self, name):
        content = (self.root / name).read_bytes()
        etag = hashlib.sha1(content).hexdigest()
        if self.command == "GET":
            self.served.append(name)
        self._send(content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _send(self, content, headers):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


EPISODES = [episode(i, size=64) for i in range(2)]


@pytest.fixture
def hub(tmp_path):
    main_suite = tmp_path / "hub" / "vd4rl" / "main"
    write_folder(main_suite / "walker_walk" / "random" / "64px", EPISODES)
    write_folder(main_suite / "walker_walk" / "expert" / "64px", EPISODES[:1])
    shard = main_suite / "walker_walk" / "random" / "84px" / "shard_1_reward_30.hdf5"
    write_hdf5(shard, stream([episode(9, size=84)]))
    distracting = tmp_path / "hub" / "vd4rl" / "distracting" / "walker_walk"
    write_folder(distracting / "random" / "64px" / "easy", EPISODES[1:])
    (tmp_path / "hub" / "README.md").write_text("V-D4RL")

    handler = type("TestHub", (Hub,), {"root": tmp_path / "hub", "served": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run(tmp_path, port, *arguments):
    # In a process of its own: the client reads these variables once.
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-m", "vd4rl_loader", "download", *arguments]
    command += ["--out", str(tmp_path / "out")]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_only_what_is_asked_for_is_fetched_and_only_once(tmp_path, hub):
    arguments = ("--task", "walker_walk", "--level", "random")
    for _ in range(2):
        done = run(tmp_path, hub.server_port, *arguments)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "out" / "vd4rl" / "main" / "walker_walk" / "random" / "64px"
        assert done.stdout.split() == [str(folder)]
        names = sorted(path.name for path in folder.glob("*.npz"))
        below = "vd4rl/main/walker_walk/random/64px/"
        assert sorted(hub.RequestHandlerClass.served) == [below + n for n in names]
    dataset = open_dataset(
        tmp_path / "out", "walker_walk", "random", log=lambda line: None
    )
    assert_holds(dataset, EPISODES)


def test_the_84_pixel_shards(tmp_path, hub):
    arguments = ("--task", "walker_walk", "--level", "random", "--size", "84")
    done = run(tmp_path, hub.server_port, *arguments)
    assert done.returncode == 0, done.stderr
    dataset = open_dataset(tmp_path / "out", image_size=84, log=lambda line: None)
    np.testing.assert_array_equal(dataset.image, episode(9, size=84)["image"])


def test_a_level_with_a_part_below_the_size(tmp_path, hub):
    arguments = ("--task", "walker_walk", "--level", "random/easy")
    done = run(tmp_path, hub.server_port, *arguments, "--suite", "distracting")
    assert done.returncode == 0, done.stderr
    dataset = open_dataset(
        tmp_path / "out", "walker_walk", "random/easy", log=lambda line: None
    )
    assert_holds(dataset, EPISODES[1:])


def test_what_the_hub_does_not_have(tmp_path, hub):
    done = run(tmp_path, hub.server_port, "--task", "hopper_hop", "--level", "random")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: conglu/vd4rl has no main/hopper_hop/random of 64 pixels, only "
        "walker_walk/expert, walker_walk/random"
    ]
    assert hub.RequestHandlerClass.served == []


def test_a_hub_that_refuses(tmp_path, hub):
    hub.RequestHandlerClass.do_GET = lambda request: request.send_error(401)
    done = run(tmp_path, hub.server_port, "--task", "walker_walk", "--level", "random")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: downloading conglu/vd4rl failed (")
    assert "401" in line


def test_a_hub_out_of_reach(tmp_path, monkeypatch, capsys):
    def unreachable(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", unreachable)
    arguments = ["download", "--task", "walker_walk", "--level", "random"]
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "error: downloading conglu/vd4rl failed (no route to host): try again, what "
        "has arrived is kept\n"
    )


def test_without_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    arguments = ["download", "--task", "walker_walk", "--level", "random"]
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "error: downloading needs huggingface_hub: pip install "
        "'dreamer-leq[download]'\n"
    )
