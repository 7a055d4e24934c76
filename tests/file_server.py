"""A local HTTP server of files that knows ranges, and fails as it is told to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class FileServer:
    """What the server has, how it fails, and what it was asked.

    Attributes:
        files: content by path.
        cuts: of each successive answer, the number of bytes after which the connection is closed.
        answers: status and headers by path, in place of a file.
        headers: further headers by path.
        ranges: whether ranges are understood.
        asked: path and headers of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    ranges: bool = True
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    @property
    def starts(self) -> list[int]:
        """The first byte that each request asked for."""
        found = (re.match(r"bytes=(\d+)-", h.get("Range", "")) for _, h in self.asked)
        return [int(match[1]) if match else 0 for match in found]


@contextmanager
def serving() -> Iterator[FileServer]:
    """Serve files on a free port of this machine."""
    state = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = dict(self.headers)
            state.asked.append((self.path, headers))
            if self.path in state.answers:
                status, more = state.answers[self.path]
                self._begin(status, {"Content-Length": "0", **more})
                return
            content = state.files.get(self.path)
            if content is None:
                self._begin(404, {"Content-Length": "0"})
                return
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            more = {"ETag": etag, **state.headers.get(self.path, {})}
            start = 0
            asked = re.match(r"bytes=(\d+)-", headers.get("Range", ""))
            if asked and state.ranges and headers.get("If-Range", etag) == etag:
                start = int(asked[1])
                if start >= len(content):
                    span = f"bytes */{len(content)}"
                    self._begin(416, {"Content-Range": span, "Content-Length": "0"})
                    return
                more["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            body = content[start:]
            self._begin(206 if start else 200, {"Content-Length": str(len(body)), **more})
            cut = state.cuts.pop(0) if state.cuts else len(body)
            self.wfile.write(body[:cut])
            self.close_connection = True

        def _begin(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
