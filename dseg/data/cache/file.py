"""Cache files of decoded images and masks, memory-mapped by all processes that read them.

A file has a header of 64 bytes, the pixels of each image and its mask in turn, and an index of
sizes, checksums and the errors of samples that could not be read. The header is written last.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL

from dseg import __version__
from dseg.datasets.base import Dataset, Pair
from dseg.errors import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, DsegError
from dseg.images import Pixels
from dseg.parallel import Advance, map_in_order

MAGIC = b"dseg cache 1\n\0\0\0"
HEADER = struct.Struct("<16sQQ32s")  # magic; offset, number of bytes and digest of the index
BYTES = 4  # bytes per pixel: three colours and a train id
Encoded = tuple[tuple[int, int], int, list[Pixels]]  # size, checksum, image and mask
Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Key:
    """Digests of the data that a cache holds.

    Attributes:
        samples: digest of names, classes and the meaning of mask values.
        files: digest of these, of the files' sizes and times, and of the versions that decode.
    """

    samples: str
    files: str


def find_key(dataset: Dataset) -> Key:
    """Return the key of a data set, independent of its folder, without reading its files."""
    samples, files = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    samples.update(repr(dataset.space.names).encode())
    files.update(repr((__version__, PIL.__version__)).encode())
    for sample in dataset.samples:
        samples.update(repr(sample.name).encode() + sample.encoding.digest())
        files.update(repr([_stat(path) for path in (sample.image, sample.mask)]).encode())
    files.update(samples.digest())
    return Key(samples.hexdigest(), files.hexdigest())


def _stat(path: Path | None) -> tuple[int, int]:
    try:
        facts = path.stat() if path else None
    except OSError:
        facts = None
    return (facts.st_size, facts.st_mtime_ns) if facts else (-1, -1)


def write_cache(
    path: Path,
    dataset: Dataset,
    key: Key,
    *,
    threads: int,
    advance: Advance = lambda: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Decode a data set into a new cache file.

    Args:
        path: the file, which no process reads yet; an empty file is overwritten.
        dataset: the samples; the errors of those that cannot be read are stored.
        key: key of the data set from before it was read.
        threads: number of threads that decode.
        advance: called for each sample.
        stopping: called after each sample; stop if it returns True.

    Raises:
        DsegError: ``stopping`` returned True.
        OSError: the file cannot be written.
    """
    sizes: list[tuple[int, int]] = []
    checksums: list[int] = []
    faults: dict[int, tuple[str, str, int]] = {}
    with path.open("wb") as file:
        file.write(bytes(HEADER.size))
        for index, found in enumerate(read_all(dataset, threads, _prepare)):
            if isinstance(found, DsegError):
                faults[index] = found.problem, found.hint, found.exit_code
                found = (0, 0), 0, []
            size, checksum, pixels = found
            for part in pixels:
                file.write(part.data)
            sizes.append(size)
            checksums.append(checksum)
            advance()
            if stopping():
                raise DsegError(
                    "Stopped while images were cached.",
                    hint="run again, with the same options.",
                    exit_code=EXIT_INTERRUPTED,
                )
        facts = {"key": key.files, "sizes": sizes, "checksums": checksums, "faults": faults}
        index_bytes = json.dumps(facts).encode()
        start = file.tell()
        file.write(index_bytes)
        file.seek(0)
        file.write(HEADER.pack(MAGIC, start, len(index_bytes), _digest(index_bytes)))


def _prepare(pair: Pair) -> Encoded:
    pixels = [np.ascontiguousarray(part).reshape(-1) for part in pair]
    height, width = pair.train_ids.shape
    return (height, width), zlib.crc32(pixels[1].data, zlib.crc32(pixels[0].data)), pixels


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


class CacheFile:
    """The pairs of a file that ``write_cache`` wrote, memory-mapped read-only.

    Forked processes share the mapping; a pickled object maps the file again.

    Args:
        path: the file. While it is mapped it must not be truncated or written to.
        key: key of the data set.

    Attributes:
        mapping: the bytes of the file.

    Raises:
        DsegError: the file is missing, incomplete, not a cache, or of other data.
    """

    def __init__(self, path: Path, key: Key):
        self.path, self.key = path, key
        try:
            with path.open("rb") as file:
                self.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            facts = self._read_index()
            if facts["key"] != key.files:
                raise ValueError("it was made from other data, or the files have changed since")
            self._load_index(facts)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as bad:
            # as text: an error that holds itself would keep the mapping, which blocks the file
            reason = str(bad.strerror if isinstance(bad, OSError) else bad)
            raise DsegError(
                f"{path} cannot be used as a cache: {reason}.",
                hint="delete it; dseg cache or dseg train --cache disk makes it again.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from bad

    def _read_index(self) -> dict[str, Any]:
        whole = len(self.mapping)
        magic, start, size, digest = HEADER.unpack(self.mapping[: HEADER.size].ljust(HEADER.size))
        if magic != MAGIC:
            raise ValueError("it is not a cache, or is incomplete")
        index = self.mapping[start : start + size] if start + size == whole else b""
        if _digest(index) != digest:
            raise ValueError(f"its {whole} bytes differ from those that were written")
        facts: dict[str, Any] = json.loads(index)
        self._end = start
        return facts

    def _load_index(self, facts: dict[str, Any]) -> None:
        self._sizes = [(int(height), int(width)) for height, width in facts["sizes"]]
        self._checksums = [int(checksum) for checksum in facts["checksums"]]
        self._faults = {
            int(index): DsegError(str(problem), hint=str(hint), exit_code=int(code))
            for index, (problem, hint, code) in facts["faults"].items()
        }
        lengths = [BYTES * height * width for height, width in self._sizes]
        self._offsets = list(accumulate(lengths, initial=HEADER.size))
        if min((side for size in self._sizes for side in size), default=0) < 0:
            raise ValueError("it has negative sizes")
        if self._offsets.pop() != self._end or len(self._checksums) != len(self._sizes):
            raise ValueError("its index does not match its pixels")

    def __len__(self) -> int:
        return len(self._sizes)

    def __getstate__(self) -> tuple[Path, Key]:
        return self.path, self.key

    def __setstate__(self, state: tuple[Path, Key]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def faults(self) -> dict[int, DsegError]:
        """Errors of the samples that could not be read, by index."""
        return dict(self._faults)

    def read(self, index: int) -> Pair:
        """Return a pair, with read-only arrays.

        Raises:
            DsegError: the sample could not be read when the cache was made.
        """
        if index in self._faults:
            raise self._faults[index]
        (height, width), start = self._sizes[index], self._offsets[index]
        pixels = np.frombuffer(self.mapping, np.uint8, BYTES * height * width, start)
        ids = 3 * height * width
        return Pair(pixels[:ids].reshape(height, width, 3), pixels[ids:].reshape(height, width))

    def check(self, threads: int, advance: Advance = lambda: None) -> None:
        """Compare all pixels with their checksums.

        Raises:
            DsegError: some pixels differ from those that were written.
        """

        def compare(index: int) -> bool:
            (height, width), start = self._sizes[index], self._offsets[index]
            with (
                memoryview(self.mapping) as view,
                view[start : start + BYTES * height * width] as own,
            ):
                return zlib.crc32(own) == self._checksums[index]

        good = []
        with ThreadPoolExecutor(threads) as pool:
            for same in pool.map(compare, range(len(self))):
                good.append(same)
                advance()
        if not all(good):
            raise DsegError(
                f"{self.path} is damaged: {good.count(False)} of {len(good)} images differ "
                "from those that were written.",
                hint="delete it; dseg cache or dseg train --cache disk makes it again.",
                exit_code=EXIT_FAILED_INPUTS,
            )


def read_all(
    dataset: Dataset, threads: int, prepare: Callable[[Pair], Prepared]
) -> Iterator[Prepared | DsegError]:
    """Yield the result of ``prepare`` for each sample's pair, in order, or the sample's error.

    Both decoding and ``prepare`` run in threads. At most ``threads`` + 1 results are held, besides
    the one that was yielded.
    """

    def read(index: int) -> Prepared | DsegError:
        try:
            return prepare(dataset.read(index))
        except DsegError as fault:
            return fault

    return map_in_order(read, range(len(dataset)), threads, ahead=threads, wait=True)
