"""A stand-in for the Hugging Face hub on this machine, to which the real client is led:
repositories of models, whose files can be put there, listed and fetched.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from urllib.parse import unquote

import huggingface_hub
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHub(http.server.BaseHTTPRequestHandler):
    """`files` has what each repository holds, by name."""

    files: dict[str, dict[str, bytes]]
    served: list[str]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(self.path.split("?")[0])
        if found := re.fullmatch(r"/api/models/(\w+/[\w-]+)(?:/revision/(.+))?", path):
            return self.about(*found.groups())
        if found := re.fullmatch(r"/api/models/(\w+/[\w-]+)/tree/.+", path):
            return self.json([entry(*x) for x in self.files[found[1]].items()])
        if found := re.fullmatch(rf"/(\w+/[\w-]+)/resolve/{COMMIT}/(.+)", path):
            name, file = found.groups()
            self.served.append(file)
            return self.send(200, self.files[name][file], file)
        return self.send_error(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.files.setdefault(name, {})
            return self.json({"url": f"{constants.ENDPOINT}/{name}"})
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        found = re.fullmatch(r"/api/models/(.+)/(preupload|commit)/main", path)
        name, action = found.groups()
        if action == "preupload":
            about = dict(uploadMode="regular", shouldIgnore=False)
            paths = [file["path"] for file in json.loads(body)["files"]]
            return self.json({"files": [{"path": x, **about} for x in paths]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "deletedFile":
                del self.files[name][line["value"]["path"]]
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.files[name][line["value"]["path"]] = content
        where = f"{constants.ENDPOINT}/{name}/commit/{COMMIT}"
        return self.json({"commitUrl": where, "commitOid": COMMIT, "success": True})

    def about(self, name, revision):
        if name not in self.files or revision not in (None, "main", "v1", COMMIT):
            return self.send_error(404)
        files = self.files[name].items()
        siblings = [{"rfilename": file, "size": len(x)} for file, x in files]
        return self.json({"id": name, "sha": COMMIT, "siblings": siblings})

    def json(self, value):
        self.send(200, json.dumps(value).encode())

    def send(self, code, content, name=""):
        etag = hashlib.sha1(name.encode() + content).hexdigest()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def entry(name, content):
    about = dict(path=name, size=len(content))
    return about | {"type": "file", "oid": hashlib.sha1(content).hexdigest()}


@contextlib.contextmanager
def model_hub(monkeypatch, cache):
    """The stand-in's repositories, for the client of this process, which caches in
    `cache`.
    """
    handler = type("Hub", (ModelHub,), {"files": {}, "served": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    template = template.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    huggingface_hub.close_session()  # one of before knows another address
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()
    huggingface_hub.close_session()
