"""All samples of a data set, decoded by several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from dseg.datasets.base import Dataset, Pair
from dseg.errors import DsegError
from dseg.images import read_size

Prepared = TypeVar("Prepared")


def read_all(
    dataset: Dataset, threads: int, prepare: Callable[[Pair], Prepared]
) -> Iterator[Prepared | DsegError]:
    """Yield what ``prepare`` makes of each sample's pair, in order, or what is wrong with it.

    Both decoding and ``prepare`` run in the threads. ``threads`` + 1 results are held at most,
    besides the one that was yielded.
    """

    def read(index: int) -> Prepared | DsegError:
        try:
            return prepare(dataset.read(index))
        except DsegError as fault:
            return fault

    waiting: deque[Future[Prepared | DsegError]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for index in range(len(dataset)):
            waiting.append(pool.submit(read, index))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def count_bytes(dataset: Dataset, threads: int) -> int:
    """Return how many bytes all decoded pairs have, by their files' headers; 0 for unreadable."""

    def measure(index: int) -> int:
        try:
            height, width = read_size(dataset.samples[index].image)
        except DsegError:
            return 0
        return 4 * height * width

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(measure, range(len(dataset))))
