"""One request: receive a file from its beginning or from where an earlier part ends."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dseg import __version__
from dseg.downloads.display import Display
from dseg.downloads.errors import BrokenError, UnreachableError, no_space_error
from dseg.downloads.source import Source
from dseg.errors import CheckpointError
from dseg.files import rename_over, write_json

if TYPE_CHECKING:
    from requests import Response

CONNECT_S = 10.0
READ_S = 30.0
BLOCK = 1 << 16  # a connection that breaks loses the bytes of one block
BUSY = (408, 425, 429, 500, 502, 503, 504)
DENIED = (401, 403, 407)
HTML = (b"<!doctype html", b"<html")
RANGE = re.compile(r"bytes (\d+)-\d+/")


class Part:
    """The part of a file that has arrived, beside the file, and what it was received from.

    Args:
        target: the file.
        key: digest or address; a part of another file is not continued.
    """

    def __init__(self, target: Path, key: str):
        self.target, self.key = target, key
        self.path = target.with_name(f".{target.name}.part")
        self._record = target.with_name(f".{target.name}.part.json")
        if self._read().get("key") != key:
            self.remove()

    def size(self) -> int:
        """Return the number of bytes that have arrived."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def validator(self) -> str:
        """ETag or date of the file on the server, for ``If-Range``; empty if it sent none."""
        return str(self._read().get("validator", ""))

    @property
    def sha256(self) -> str:
        """SHA-256 that the server gave; empty if it gave none."""
        return str(self._read().get("sha256", ""))

    def begin(self, validator: str, sha256: str) -> None:
        """Record what the bytes are received from, and drop those that are there."""
        self.path.write_bytes(b"")
        write_json(self._record, {"key": self.key, "validator": validator, "sha256": sha256})

    def finish(self) -> None:
        """Give the file its name."""
        rename_over(self.path, self.target)
        self._record.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the part."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found = json.loads(self._record.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}


@contextmanager
def connection_faults() -> Iterator[None]:
    """Turn the faults of requests into a ``BrokenError`` or an ``UnreachableError``."""
    import requests
    from urllib3.exceptions import HTTPError, NewConnectionError

    broken = requests.exceptions.ChunkedEncodingError

    try:
        yield
    except requests.exceptions.SSLError as fault:
        raise UnreachableError(
            "the certificate of the server is not accepted; REQUESTS_CA_BUNDLE names other ones"
        ) from fault
    except requests.ConnectTimeout as fault:
        raise UnreachableError(f"no answer within {CONNECT_S:g} s") from fault
    except requests.exceptions.ProxyError as fault:
        raise UnreachableError(f"the proxy does not answer ({_reason(fault)})") from fault
    except (broken, requests.ConnectionError, requests.Timeout) as fault:
        cause = getattr(fault.args[0], "reason", None) if fault.args else None
        kind = UnreachableError if isinstance(cause, NewConnectionError) else BrokenError
        raise kind(_reason(fault)) from fault
    except (requests.RequestException, HTTPError, UnicodeError) as fault:  # addresses, proxies
        raise UnreachableError(str(fault).strip().rstrip(".")) from fault


def _reason(fault: BaseException) -> str:
    """Return the system's word for a fault, such as "Connection refused"."""
    words, current = "", fault.__context__
    while current is not None:
        if isinstance(current, OSError) and current.strerror:
            words = current.strerror
        current = current.__context__
    if not words and "timed out" in str(fault):
        return f"no data for {READ_S:g} s"
    return words or "it was closed early"


def receive(source: Source, part: Part, display: Display) -> None:
    """Receive the rest of a file by one request.

    Raises:
        BrokenError: the transfer ended early, or the server is busy.
        CheckpointError: the server does not have the file.
        DsegError: the disk is too small.
        OSError: the part cannot be written.
    """
    import requests

    start, validator = part.size(), part.validator
    headers = {"User-Agent": f"dseg/{__version__}", "Accept-Encoding": "identity"}
    if start and (validator or source.sha256 or part.sha256):
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    asked = {**headers, **source.headers}
    with connection_faults(), requests.Session() as session:
        answer = session.get(source.url, headers=asked, stream=True, timeout=(CONNECT_S, READ_S))
        with answer:
            if not _is_complete(answer, start, part):
                _store(answer, start, source, part, display)


def _is_complete(answer: Response, start: int, part: Part) -> bool:
    """Return True if the server answers that nothing follows the part."""
    if answer.status_code != 416:
        return False
    if answer.headers.get("Content-Range", "") == f"bytes */{start}":
        return True
    part.remove()
    raise BrokenError("the file on the server is shorter now")


def _store(answer: Response, start: int, source: Source, part: Part, display: Display) -> None:
    """Append the bytes of an answer to the part, or begin it anew."""
    _check_status(answer, source)
    if answer.status_code == 206:
        found = RANGE.match(answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            part.remove()
            raise BrokenError("the server sent other bytes than were asked for")
    else:
        start = 0
    said = answer.headers.get("Content-Length", "")
    known = said.isdecimal() and "Content-Encoding" not in answer.headers
    length = int(said) if known else 0
    if length > shutil.disk_usage(part.path.parent).free:
        part.remove()
        raise no_space_error(part.path.parent, f": {source.title} needs {length / 1e6:.1f} MB more")
    blocks = answer.iter_content(BLOCK)
    first = next(blocks, b"")
    if start == 0:
        _refuse_page(first, source)
        part.begin(_validator(answer), _linked_digest(answer))
    total = start + length if length else 0
    with display.progress(source.title, start, total) as advance, part.path.open("ab") as file:
        for block in chain([first], blocks):
            file.write(block)
            advance(len(block))
        if total and file.tell() < total:
            raise BrokenError("it was closed early")


def _check_status(answer: Response, source: Source) -> None:
    """Refuse an answer without the file."""
    status = answer.status_code
    if status in (200, 206):
        return
    said = f"the server answers {status} {answer.reason or ''}".rstrip()
    if status in BUSY:
        pause = answer.headers.get("Retry-After", "")
        raise BrokenError(said, float(pause) if pause.isdecimal() else 0.0)
    hint = source.denied if status in DENIED and source.denied else source.by_hand
    raise CheckpointError(f"{source.title} is not at {source.url}: {said}.", hint=hint)


def _refuse_page(first: bytes, source: Source) -> None:
    """Refuse a web page in place of a file, such as the login page of a network."""
    if first.lstrip()[:20].lower().startswith(HTML):
        raise CheckpointError(
            f"{source.url} gives a web page, not the file {source.title}.",
            hint=f"log in to the network if it asks for that in a browser, or {source.by_hand}",
        )


def _validator(answer: Response) -> str:
    """Return the ETag of an answer, or its date if the ETag is weak or missing."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _linked_digest(answer: Response) -> str:
    """Return the SHA-256 that Hugging Face gives with its redirection; "" without one."""
    for step in (*answer.history, answer):
        value = step.headers.get("X-Linked-ETag", "").removeprefix("W/").strip('"')
        if re.fullmatch("[0-9a-f]{64}", value):
            return value
    return ""
