"""Download images and videos from addresses, within limits of size and time."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from dseg import __version__
from dseg.errors import DsegError
from dseg.video import VIDEO_SUFFIXES, without_password

MOST_BYTES = 200_000_000  # of an image
MOST_VIDEO_BYTES = 4_000_000_000
TIMEOUT_S = 30.0  # without any data
BLOCK = 1 << 18
HINT = "check the address in a browser, or download the file and name it."


def is_url(source: str) -> bool:
    """Return True for an address of the web."""
    return source.lower().startswith(("http://", "https://"))


def download(url: str, folder: Path) -> Path:
    """Download a file into ``<folder>/<host>/`` and return its path.

    Raises:
        DsegError: it cannot be had, is a web page, or is too large.
    """
    shown = without_password(url)
    try:
        parts = urlsplit(url)
        name = re.sub(r"[^\w. ()+-]", "_", Path(unquote(parts.path)).name).strip(". ") or "image"
        host = re.sub(r"[^\w.-]", "_", parts.hostname or "")
        request = urllib.request.Request(url, headers={"User-Agent": f"dseg/{__version__}"})
        with _opener().open(request, timeout=TIMEOUT_S) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise DsegError(
                    f"{shown} is a web page, not an image.",
                    hint="copy the address of the image itself.",
                )
            target = _claim(folder / (host or "host") / name)
            _save(answer, target, shown)
    except DsegError:
        raise
    except HTTPError as fault:
        raise DsegError(
            f"{shown} cannot be had: {fault.code} {fault.reason}.", hint=HINT
        ) from fault
    except (URLError, OSError, ValueError) as fault:
        cause = getattr(fault, "reason", None) or fault
        reason = getattr(cause, "strerror", None) or str(cause)
        raise DsegError(f"{shown} cannot be had: {reason}.", hint=HINT) from fault
    return target


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for the web alone, through the usual proxies, not for files or FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _save(answer: object, target: Path, shown: str) -> None:
    is_video = target.suffix.lower() in VIDEO_SUFFIXES
    most = MOST_VIDEO_BYTES if is_video else MOST_BYTES
    read = answer.read  # type: ignore[attr-defined]
    expected = answer.headers.get("Content-Length")  # type: ignore[attr-defined]
    written = 0
    with target.open("wb") as out:
        while block := read(BLOCK):
            written += len(block)
            if written > most:
                raise DsegError(
                    f"{shown} has more than {most // 10**6} MB.",
                    hint="download it, and name the file.",
                )
            out.write(block)
    if expected is not None and expected.isdecimal() and written < int(expected):
        raise DsegError(
            f"{shown} ended after {written:,} of {int(expected):,} bytes.", hint="run again."
        )


def _claim(path: Path) -> Path:
    """Create an empty file under a name that no other address of the same ending has got."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, unused = 1, path
    while True:
        try:
            unused.touch(exist_ok=False)
            return unused
        except FileExistsError:
            number += 1
            unused = path.with_name(f"{path.stem}-{number}{path.suffix}")
