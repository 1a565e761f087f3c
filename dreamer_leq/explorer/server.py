"""A page on this machine that asks one object for what it shows.

It listens on the loopback address only, and answers only pages that it has served: a
foreign page in the same browser can neither name itself as this host nor send JSON.
"""

import errno
import json
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from dreamer_leq.system.errors import UserError
from vd4rl_loader.errors import DataError, told

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")  # what a browser may call it, also by a forwarded port
LARGEST = 1 << 20  # bytes of a question


class Asked(Protocol):
    """Answers each of its methods in `asked` with a dict, or with a file's bytes."""

    asked: tuple[str, ...]


class Server(ThreadingHTTPServer):
    """One page, and the object behind it, which is asked one thing after the other in
    the thread of `answer_forever`: rendering contexts belong to theirs.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        """Takes the port; 0: any free one. Raises UserError where it is taken."""
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is in use" if error.errno == errno.EADDRINUSE else "isn't allowed"
            raise UserError(
                f"--port {port} {why}: give another one, or 0 for any that is free"
            ) from None
        self.page, self._answers = b"", None
        self._tasks = SimpleQueue()

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    def show(self, page: str, answers: Asked) -> None:
        """What is served from now on."""
        self.page, self._answers = page.encode(), answers

    def answer_forever(self) -> None:
        """Answers until `stop`, or an interrupt."""
        Thread(target=self.serve_forever, daemon=True).start()
        try:
            while (task := self._tasks.get()) is not None:
                _settle(*task)
        finally:
            self.shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a page that was closed
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self._tasks.put(None)

    def ask(self, name: str, body: Any) -> Any:
        """The object's answer. Raises UserError for what it isn't to be asked."""
        if self._answers is None or name not in self._answers.asked:
            raise UserError(f"there is no {name!r} to ask for")
        if not isinstance(body, dict):
            raise UserError("expected a JSON object")
        answer: Future = Future()
        self._tasks.put((answer, getattr(self._answers, name), body))
        return answer.result()


def _settle(answer: Future, method: Callable[[Any], Any], body: Any) -> None:
    try:
        answer.set_result(method(body))
    except Exception as error:
        answer.set_exception(error)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self._is_ours():
            said = f"open {self.server.url} instead".encode()
            self._answer(HTTPStatus.FORBIDDEN, said, "text/plain")
        elif self.path == "/":
            self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def do_POST(self) -> None:
        if not (self._is_ours() and self._is_json()):
            self.close_connection = True
            return self._answer(HTTPStatus.FORBIDDEN, b"", "text/plain")
        try:
            found, status = self._found(), HTTPStatus.OK
        except (UserError, DataError) as error:
            found, status = {"error": told(error)}, HTTPStatus.BAD_REQUEST
        except Exception:
            traceback.print_exc(file=sys.stderr)
            said = "that went wrong: the terminal says what"
            found, status = {"error": said}, HTTPStatus.INTERNAL_SERVER_ERROR
        if isinstance(found, bytes):
            return self._answer(status, found, "application/octet-stream")
        text = json.dumps(found, allow_nan=False)
        return self._answer(status, text.encode(), "application/json")

    def _found(self) -> Any:
        try:
            size = int(self.headers.get("Content-Length", ""))
            text = self.rfile.read(size) if 0 <= size <= LARGEST else b""
            body = json.loads(text)
        except ValueError:
            self.close_connection = True
            raise UserError("expected JSON") from None
        return self.server.ask(self.path.removeprefix("/"), body)

    def _is_ours(self) -> bool:
        """Whether this is asked of this host, by its own page where by any."""
        host = self.headers.get("Host", "")
        own = self.headers.get("Origin") in (None, f"http://{host}")
        return own and host.partition(":")[0] in NAMES

    def _is_json(self) -> bool:
        return self.headers.get_content_type() == "application/json"

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a line for each step of a drive would hide what matters."""
