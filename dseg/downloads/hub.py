"""Files of Hugging Face: ``hf://owner/name/file``, with ``@revision`` at the end if needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import quote

from dseg.downloads.display import SILENT, Display
from dseg.downloads.fetching import fetch
from dseg.downloads.folders import cache_folder
from dseg.downloads.source import Source, base_address, mirror_address, mirrored
from dseg.errors import DsegError

START = "hf:/"  # a Path drops the second slash
SITE = "https://huggingface.co"


def is_hub_address(path: str | PurePath) -> bool:
    """Return True for ``hf://...``, also after it was made a path."""
    return _text(path).startswith(START)


def _text(path: str | PurePath) -> str:
    return path.as_posix() if isinstance(path, PurePath) else path


@dataclass(frozen=True)
class HubFile:
    """A file of a repository of Hugging Face.

    Attributes:
        owner, name: repository.
        file: path in the repository.
        revision: branch, tag or commit.
    """

    owner: str
    name: str
    file: str
    revision: str = "main"

    @classmethod
    def read(cls, address: str | PurePath) -> HubFile:
        """Read an address such as ``hf://owner/name/file@revision``.

        Raises:
            DsegError: it is not one.
        """
        text = _text(address)
        rest, _, revision = text.removeprefix(START).strip("/").partition("@")
        parts = rest.split("/")
        words = [*parts, *revision.split("/")] if revision else parts
        if len(parts) < 3 or {"", ".", ".."} & set(words) or "\\" in text:
            raise DsegError(
                f"{text} is not the address of a file of Hugging Face.",
                hint="write hf://owner/name/file, or hf://owner/name/file@revision.",
            )
        return cls(parts[0], parts[1], "/".join(parts[2:]), revision or "main")

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}/{self.file}"

    @property
    def place(self) -> Path:
        """The file in the cache."""
        folder = cache_folder() / "hf" / self.owner / self.name / quote(self.revision, safe="")
        return folder / self.file

    def source(self) -> Source:
        """Return where the file is downloaded from, with the token of HF_TOKEN if it is set.

        Raises:
            DsegError: HF_ENDPOINT or DSEG_MIRROR is not an address.
        """
        endpoint = base_address("HF_ENDPOINT")
        repository = quote(f"{self.owner}/{self.name}")
        path = f"{repository}/resolve/{quote(self.revision, safe='')}/{quote(self.file)}"
        url = f"{endpoint or SITE}/{path}"
        token = _read_token()
        mirror = "" if endpoint else mirror_address()  # which does not get the token
        headers = {"Authorization": f"Bearer {token}"} if token and not mirror else {}
        page = f"{SITE}/{self.owner}/{self.name}"
        return Source(
            title=str(self),
            url=mirrored(url) if mirror else url,
            mirror=mirror,
            by_hand=f"get {self.file} from {page} on another machine, and name your copy.",
            headers=headers,
            denied=f"the repository may be private or ask to accept its terms: see {page}, and "
            "set HF_TOKEN to a token of your account.",
        )


def _read_token() -> str:
    """Return the token in ``$HF_TOKEN``, empty if it is not set."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable()):
        raise DsegError(
            "The environment variable HF_TOKEN holds characters that no token has.",
            hint="copy the token again, or unset HF_TOKEN.",
        )
    return token


def find_hub_file(
    address: str | PurePath,
    display: Display = SILENT,
    *,
    folder: Path | None = None,
    again: bool = False,
) -> Path:
    """Return a file of Hugging Face from the cache, downloaded first if it is not there.

    Its SHA-256 is checked if the server gives one. A file in the cache is used without asking
    whether a branch has moved.

    Args:
        address: ``hf://owner/name/file``, ``@revision`` at its end names a branch, tag or commit.
        display: shows messages and progress.
        folder: where to put it, by its bare name; by default the cache.
        again: download a file that is in the cache, too.

    Raises:
        DsegError: not an address, or as ``fetch``.
    """
    file = HubFile.read(address)
    place = file.place if folder is None else folder / file.file.rpartition("/")[2]
    if place.is_file() and not again:
        return place
    source = file.source()
    server = base_address("HF_ENDPOINT", SITE)
    about = (
        f"Downloading {file} ({file.revision}) from {server}; "
        f"licence: see {SITE}/{file.owner}/{file.name}."
    )
    return fetch(source, place, display, about=about, again=again)
