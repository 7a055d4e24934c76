"""Read the frames of a video one after another, upright and in RGB."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.video.library import find_input, has_library, is_live, library_error, without_password

SHORT_S = 1.0  # a video that ends this much, and 5 % of its length, too early is damaged
DEFAULT_RATE = Fraction(25)


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, upright.
        seconds: time since the first frame.
    """

    pixels: NDArray[np.uint8]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a video are read; by default all.

    Attributes:
        every: every how many frames one is read.
        rate: most frames per second of the video, None for no limit.
        seconds: time of the video after which reading stops, None for its end.
    """

    every: int = 1
    rate: float | None = None
    seconds: float | None = None


@dataclass
class VideoInfo:
    """What is known about a video before its frames are read.

    Attributes:
        source: the file or address.
        size: (height, width) of upright frames.
        rate: mean number of frames per second.
        count: number of frames that will be read by the header, None if unknown.
        has_audio: whether it has sound, which is not read.
        duration: seconds by the header, None if unknown.
    """

    source: str
    size: tuple[int, int]
    rate: Fraction
    count: int | None
    has_audio: bool
    duration: float | None


def describe_time(seconds: float) -> str:
    """Return a time as ``HH-MM-SS.mmm``, which sorts and which any file system accepts."""
    total = round(seconds * 1000)
    hours, rest = divmod(total, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}-{minutes:02}-{rest // 1000:02}.{rest % 1000:03}"


@contextmanager
def open_video(
    source: str | Path, sampling: Sampling | None = None, *, max_pixels: int = 200_000_000
) -> Iterator[tuple[VideoInfo, Iterator[Frame]]]:
    """Open a video file, webcam or stream; yield its description and an iterator of frames.

    Frames that cannot be decoded are left out; after the last frame, the iterator raises a
    DsegError if there were any, or if the video ends before its time.

    Raises:
        DsegError: PyAV is missing, the source is not a video, or its frames are too large.
    """
    sampling = sampling or Sampling()
    if not has_library():
        raise library_error(str(source))
    import av

    try:
        container = av.open(mode="r", **find_input(str(source)))
    except av.FFmpegError as fault:
        raise _unreadable(source, fault) from fault
    with container:
        if not container.streams.video:
            raise _unreadable(source, "it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        packets = _Packets(container, stream, source)
        first = next(packets, None)
        if first is None:
            raise _unreadable(source, packets.fault or "it has no frames")
        info = _describe(without_password(str(source)), container, stream, first, sampling)
        height, width = info.size
        if height * width > max_pixels:
            raise DsegError(
                f"{source} has {width}x{height} pixels, more than {max_pixels:,}.",
                hint="if you trust the file, raise --max-pixels.",
            )
        yield info, _read(first, packets, info, sampling)


class _Packets:
    """Iterates over decoded frames, and counts packets that cannot be decoded."""

    def __init__(self, container: Any, stream: Any, source: str | Path):
        self._frames = self._decode(container, stream)
        self._source = source
        self.damaged = 0
        self.fault = ""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._frames)

    def _decode(self, container: Any, stream: Any) -> Iterator[Any]:
        import av

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
                yield from packet.decode()
            except (StopIteration, EOFError):
                return
            except av.FFmpegError as fault:
                self.fault = fault.strerror or str(fault)
                self.damaged += 1
                if not isinstance(fault, av.error.InvalidDataError):
                    return


def _describe(
    source: str, container: Any, stream: Any, first: Any, sampling: Sampling
) -> VideoInfo:
    rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
    sideways = _turns_of(first) % 2
    size = (first.width, first.height) if sideways else (first.height, first.width)
    duration = None
    if not is_live(source):
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / 1e6
    count = stream.frames or (round(duration * rate) if duration is not None else 0)
    if count:
        if sampling.seconds is not None:
            count = min(count, math.ceil(sampling.seconds * rate))
        count = math.ceil(count / sampling.every)
        if sampling.rate is not None and duration:
            count = min(
                count, math.ceil(min(duration, sampling.seconds or duration) * sampling.rate)
            )
    audio = bool(container.streams.audio)
    return VideoInfo(source, size, Fraction(rate), count or None, audio, duration)


def _read(first: Any, packets: _Packets, info: VideoInfo, sampling: Sampling) -> Iterator[Frame]:
    start, last, due = None, -1.0, 0.0
    end = sampling.seconds if sampling.seconds is not None else math.inf
    for index, frame in enumerate(_chain(first, packets)):
        seconds = frame.time if frame.time is not None else index / float(info.rate)
        start = seconds if start is None else start
        seconds = max(seconds - start, last + 1e-3)  # times can repeat in damaged files
        if seconds >= end:
            return
        last = seconds
        if index % sampling.every or (sampling.rate is not None and seconds < due - 1e-6):
            continue
        if sampling.rate is not None:
            due = (math.floor(seconds * sampling.rate + 1e-6) + 1) / sampling.rate
        yield Frame(_to_rgb(frame, info.size), seconds)
    _check_end(packets, info, last)


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _check_end(packets: _Packets, info: VideoInfo, last: float) -> None:
    at = describe_time(last).replace("-", ":")
    hint = "what was read has been labelled; repair or record the file again for the rest."
    if packets.damaged:
        what = f"{packets.damaged} of its packets cannot be decoded ({packets.fault})"
        raise DsegError(f"{info.source} is damaged: {what}; it was read to {at}.", hint=hint)
    length = info.duration or 0.0
    if length - last > max(SHORT_S, 0.05 * length):
        whole = describe_time(length).replace("-", ":")
        raise DsegError(f"{info.source} is damaged: it ends at {at} of {whole}.", hint=hint)


def _to_rgb(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an upright frame, (H, W, 3) uint8; one of another size is resized."""
    turns = _turns_of(frame)
    height, width = size if turns % 2 == 0 else size[::-1]
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _turns_of(frame: Any) -> int:
    """Return the number of quarter turns, counter-clockwise, that make a frame upright."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _unreadable(source: str | Path, fault: Exception | str) -> DsegError:
    reason = getattr(fault, "strerror", None) or str(fault)
    if isinstance(fault, FileNotFoundError):
        reason = "there is no such file, camera or address"
    hint = "check that it plays; repair it or convert it with: ffmpeg -i FILE new.mp4"
    if is_live(str(source)):
        hint = "check that the camera is connected, and that no other program uses it."
    shown = without_password(str(source))
    return DsegError(f"{shown} cannot be read as a video: {reason.rstrip('.')}.", hint=hint)
