"""The command, the server behind the page, and the page without a server."""

import http.client
import json
import os
import re
import socket
import threading

import pytest
from small_runs import maze_run
from untrained import write_run
from workplace import Workplace, refused, run_here

from dreamer_leq import UserError, cli
from dreamer_leq.explorer.server import ADDRESS, Server
from dreamer_leq.run.folder import RunFolder


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path, tmp_path / "home")


# --- the server


class Echo:
    """Answers with what it was asked."""

    asked = ("echo", "file", "wrong", "bug")

    def echo(self, body):
        return {"thread": threading.get_ident(), **body}

    def file(self, body):
        return b"bytes"

    def wrong(self, body):
        raise UserError("not so")

    def bug(self, body):
        raise ZeroDivisionError

    def hidden(self, body):
        return {}


@pytest.fixture(scope="module")
def server():
    with Server(0) as server:
        server.show("<p>page", Echo())
        thread = threading.Thread(target=server.answer_forever)
        thread.start()
        yield server
        server.stop()
        thread.join()


def asked(server, method, path, body=None, **headers):
    """(status, body) of a request with these headers beside the usual ones."""
    usual = {
        "Host": f"{ADDRESS}:{server.server_port}",
        "Content-Type": "application/json",
    }
    usual |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=30)
    connection.request(method, path, body, usual)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_it_answers_its_page(server):
    assert server.server_address[0] == "127.0.0.1"
    assert asked(server, "GET", "/") == (200, b"<p>page")
    assert asked(server, "GET", "/", Host="localhost:9999")[0] == 200  # forwarded
    assert asked(server, "GET", "/else")[0] == 404
    answers = [asked(server, "POST", "/echo", '{"a": 1}') for _ in range(2)]
    threads = {json.loads(text)["thread"] for _, text in answers}
    assert len(threads) == 1 and json.loads(answers[0][1])["a"] == 1
    assert asked(server, "POST", "/file", "{}") == (200, b"bytes")


def test_it_answers_no_other_page(server):
    stranger = {"Origin": "http://example.com"}
    for answer in (
        asked(server, "GET", "/", Host="example.com"),
        asked(server, "POST", "/echo", "{}", Origin="http://localhost:3000"),
        asked(server, "POST", "/echo", "{}", Host=f"evil.com:{server.server_port}"),
        asked(server, "POST", "/echo", "{}", **stranger),
        asked(server, "POST", "/echo", "{}", Content_Type="text/plain"),
    ):
        assert answer[0] == 403
    assert asked(server, "OPTIONS", "/echo", **stranger)[0] == 501


@pytest.mark.parametrize("body", ["", "x", "[1]", "3", None])
def test_what_is_no_question_is_said(server, body):
    large = {"Content_Length": "2000000"} if body is None else {}  # it isn't read
    status, text = asked(server, "POST", "/echo", body, **large)
    assert status == 400 and "expected" in json.loads(text)["error"]


def test_errors_are_told_and_bugs_are_printed(server, capfd):
    assert asked(server, "POST", "/hidden", "{}")[0] == 400
    assert asked(server, "POST", "/wrong", "{}") == (400, b'{"error": "not so"}')
    assert capfd.readouterr().err == ""
    status, text = asked(server, "POST", "/bug", "{}")
    assert status == 500 and b"the terminal says what" in text
    assert "ZeroDivisionError" in capfd.readouterr().err


# --- what is refused in a line


def test_what_can_not_be_explored(place):
    run = maze_run(place.path)

    def line(*flags, logdir=run):
        flags = ("--logdir", logdir, "--explore", *flags)
        return refused(place, cli.eval_main, *flags)

    assert "not a run's folder" in line(logdir=place.path / "none")
    assert "--port 70000: give 0 to 65535" in line("--port", "70000")
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port} is in use" in line("--port", port)
    assert "--explore and --video" in line("--video", "x.mp4")
    assert "--explore and --share" in line("--share", "./x")
    assert "name ends in .html" in line("page.txt")
    assert "can't be written" in line(run / "config.yaml/page.html")
    checkpoint = run / "checkpoints/world_model"
    for path in checkpoint.rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    assert str(checkpoint) in line("page.html")


def test_a_run_needs_a_policy_and_a_world_model(place):
    run = maze_run(place.path)
    RunFolder(run).checkpoints(1).forget("leq")
    flags = ("--explore", "page.html")
    without = refused(place, cli.eval_main, "--logdir", run, *flags)
    assert "has no policy" in without
    data = place.path / "maze.hdf5"
    task = {"task": "pointmaze-umaze"}
    free = write_run(place.path / "free", data, "maze", "iql", **task).path
    without = refused(place, cli.eval_main, "--logdir", free, *flags)
    assert "has no world model of single steps to dream with" in without


def test_without_its_dataset_the_policy_plays(place, monkeypatch):
    monkeypatch.setattr("dreamer_leq.explorer.session.LONGEST_EPISODE", 8)
    monkeypatch.setattr("dreamer_leq.explorer.still.STEPS", 3)
    run = maze_run(place.path)
    (place.path / "maze.hdf5").unlink()
    flags = ("--logdir", run, "--explore", "page.html")
    lost = refused(place, cli.eval_main, *flags, "--data", place.path / "maze.hdf5")
    assert "maze.hdf5" in lost
    code, said, errors = run_here(place, cli.eval_main, *flags)
    assert (code, errors) == (0, "") and "without the dataset: " in said
    assert "dreaming from episode 0, entry 3" in said


# --- the page without a server


def test_a_page_with_a_fixed_set_of_dreams(place, monkeypatch):
    monkeypatch.setattr("dreamer_leq.explorer.still.MOMENTS", 1)
    monkeypatch.setattr("dreamer_leq.explorer.still.STEPS", 3)
    run, file = maze_run(place.path), place.path / "deep/page.html"
    code, said, errors = run_here(
        place, cli.eval_main, "--logdir", run, "--explore", file
    )
    assert (code, errors) == (0, "") and f"wrote {file}" in said
    page = file.read_text()
    assert str(run) not in page and "http-equiv" in page
    still = re.search(r'id="still">(.*?)</script>', page, re.DOTALL)[1]
    (only,) = json.loads(still)
    kinds = ["policy", "data", "zero", "right +", "right \u2212", "up +", "up \u2212"]
    assert sorted(only["dreams"]) == sorted(kinds)
    up = only["dreams"]["up +"]
    assert up["actions"] == [[0, 1]] * 3
    assert up["strip"]["uri"].startswith("data:image/webp;base64,")
    assert (up["strip"]["rows"], up["strip"]["steps"]) == (1, 3)  # one for all members
