"""Workspace: a temporary folder with the files of archives, addresses and standard input."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dseg.errors import DsegError, counted
from dseg.parallel import map_in_order
from dseg.sources.archives import UNSAFE_HINT, describe_unsafe, is_archive, unpack
from dseg.sources.lists import is_list, read_list
from dseg.sources.urls import download, is_url
from dseg.video import without_password

CONNECTIONS = 8


class Fault(NamedTuple):
    """A source that could not be had, or not all of it."""

    source: str
    problem: str
    hint: str


class Workspace:
    """Turns sources into files; a context, at whose end the temporary files are removed.

    Attributes:
        folder: the temporary folder, None as long as none is needed.
        faults: sources that could not be had.
        notes: remarks on sources.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.faults: list[Fault] = []
        self.notes: list[str] = []

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def place(self) -> Path:
        """Return the temporary folder; it is made on first use.

        Raises:
            DsegError: it cannot be made.
        """
        if self.folder is None:
            try:
                self.folder = Path(tempfile.mkdtemp(prefix="dseg-"))
            except OSError as fault:
                raise DsegError(
                    f"No temporary folder can be made: {fault.strerror}.",
                    hint="set TMPDIR to a folder with room.",
                ) from fault
        return self.folder

    def add(self, name: str, data: bytes) -> Path:
        """Write a temporary file, and return its path."""
        path = self.place() / name
        path.write_bytes(data)
        return path

    def gather(self, sources: Iterable[str | Path]) -> list[str | Path]:
        """Return files and folders for all sources: lists are read, addresses and archives fetched.

        Raises:
            DsegError: a list names a missing file, or nothing could be had of any source.
        """
        listed: list[str | Path] = []
        for source in sources:
            listed += read_list(source) if is_list(source) else [source]
        urls = [source for source in listed if isinstance(source, str) and is_url(source)]
        fetched = dict(zip(urls, self._download(urls), strict=True))
        found: list[str | Path] = []
        for source in listed:
            had = fetched.get(source, source) if isinstance(source, str) else source
            if had is not None:
                path = Path(had)
                unpacked = self._unpack(path) if is_archive(path) and path.is_file() else had
                found += [] if unpacked is None else [unpacked]
        if not found and self.faults:
            raise DsegError(self.faults[0].problem, hint=self.faults[0].hint)
        return found

    def shown(self, text: str) -> str:
        """Return a message with the names of sources instead of temporary files."""
        return text if self.folder is None else text.replace(f"{self.folder}{os.sep}", "")

    def _download(self, urls: list[str]) -> list[Path | None]:
        if not urls:
            return []
        folder = self.place()
        return list(map_in_order(lambda url: self._try(url, folder), urls, CONNECTIONS))

    def _try(self, url: str, folder: Path) -> Path | None:
        try:
            return download(url, folder)
        except DsegError as fault:
            self.faults.append(Fault(without_password(url), fault.problem, fault.hint))
            return None

    def _unpack(self, archive: Path) -> Path | None:
        folder = self.place() / archive.name
        while folder.exists():
            folder = folder.with_name(f"{folder.name}-2")
        try:
            unpacked = unpack(archive, folder)
        except DsegError as fault:
            self.faults.append(Fault(str(archive), fault.problem, fault.hint))
            return None
        if unpacked.fault:
            self.faults.append(Fault(str(archive), unpacked.fault, "download or pack it again."))
        if unpacked.unsafe:
            problem = f"not unpacked: {describe_unsafe(unpacked)}."
            self.faults.append(Fault(str(archive), problem, UNSAFE_HINT))
        if count := unpacked.repeated:
            self.notes.append(
                f"{archive}: {counted(count, 'file')} replaced by a later one of the same name "
                f"(first: {unpacked.first_repeated})."
            )
        return folder
