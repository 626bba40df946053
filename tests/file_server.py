"""A server of files on 127.0.0.1 that can break in every way that tests need."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass
class Answer:
    """What a path gives. `stops` and `stalls` count bytes of one connection."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    etag: str | None = '"v1"'
    ranges: bool = True  # False: Range is ignored
    shift: int = 0  # a part is sent from that many bytes later than asked
    length: int | None = None  # told instead of the true one
    stops: int | None = None  # closes the connection after so many bytes
    stalls: int | None = None  # falls silent after so many bytes
    delay: float = 0.0  # seconds before the body


class FileServer:
    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []  # Range, If-Range
        self.heads: list[str] = []
        self.tokens: list[str | None] = []  # of all requests
        self.missing: Callable[[str], Answer] = lambda path: Answer(status=404)
        self.sent: Callable[[str, bytes], Answer] = lambda path, body: Answer(
            status=405
        )
        self.url = ""
        self.closing = threading.Event()

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked, _ in self.asked]


@contextlib.contextmanager
def serve() -> Iterator[FileServer]:
    server = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            server.heads.append(self.path)
            self._answer(with_body=False)

        def do_GET(self) -> None:
            asked, if_range = self.headers["Range"], self.headers["If-Range"]
            server.asked.append((self.path, asked, if_range))
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(server.sent(self.path.partition("?")[0], body))

        do_PUT = do_POST

        def _answer(
            self, sent: Answer | None = None, *, with_body: bool = True
        ) -> None:
            asked, if_range = self.headers["Range"], self.headers["If-Range"]
            server.tokens.append(self.headers["Authorization"])
            path = self.path.partition("?")[0]
            answer = sent or server.answers.get(path) or server.missing(path)
            status, body, headers = answer.status, answer.body, dict(answer.headers)
            same = if_range is None or if_range == answer.etag
            if status == 200 and asked and answer.ranges and same:
                start = int(asked.removeprefix("bytes=").partition("-")[0])
                if start >= len(body):
                    status, body = 416, b""
                else:
                    status, start = 206, start + answer.shift
                    last = len(body) - 1
                    headers["Content-Range"] = f"bytes {start}-{last}/{len(body)}"
                    body = body[start:]
            self.send_response(status)
            if answer.etag:
                headers["ETag"] = answer.etag
            headers["Content-Length"] = str(answer.length or len(body))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if not with_body:
                return
            server.closing.wait(answer.delay)
            with contextlib.suppress(ConnectionError):  # the client has seen enough
                self.wfile.write(body[: answer.stops or answer.stalls])
                self.wfile.flush()
                if answer.stalls:
                    server.closing.wait(10)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        thread.join()
        http.server_close()
