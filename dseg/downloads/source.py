"""What is downloaded, and from where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dseg.errors import DsegError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file to download.

    Attributes:
        title: its name in messages.
        url: address, of a mirror if there is one.
        by_hand: how to get the file without dseg, as the end of a sentence with its full stop.
        sha256: SHA-256 in hexadecimal, or its first digits; empty if unknown.
        mirror: base address of the mirror, for messages; empty if ``url`` is the original one.
        headers: further headers of the request.
        denied: hint if the server refuses access; empty for ``by_hand``.
    """

    title: str
    url: str
    by_hand: str
    sha256: str = ""
    mirror: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    denied: str = ""

    @property
    def host(self) -> str:
        """The server, with its port if it has one."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def mirrored(url: str) -> str:
    """Return an address with ``$DSEG_MIRROR``, if it is set, in place of its scheme and host.

    Raises:
        DsegError: the variable does not hold an address.
    """
    mirror = mirror_address()
    if not mirror:
        return url
    parts = urlsplit(url)
    return f"{mirror}{parts.path}{f'?{parts.query}' if parts.query else ''}"


def mirror_address() -> str:
    """Return the address in ``$DSEG_MIRROR``, empty if it is not set."""
    return base_address("DSEG_MIRROR")


def base_address(variable: str, default: str = "") -> str:
    """Return the address in an environment variable, without a slash at its end.

    Raises:
        DsegError: it is not an address of http or https.
    """
    named = os.environ.get(variable, "").strip()
    base = named.rstrip("/") or default
    try:
        parts = urlsplit(base)
        valid = not base or (parts.scheme in ("http", "https") and bool(parts.hostname))
        valid = valid and (parts.port or 1) > 0  # a wrong port raises an error
    except ValueError:
        valid = False
    if not valid:
        raise DsegError(
            f"The environment variable {variable} is {named!r}, which is not an address.",
            hint=f"set it to an address such as https://mirror.example.org, or unset {variable}.",
        )
    return base
