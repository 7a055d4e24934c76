"""Write a video frame by frame, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.files import written_whole

TICKS = 60_000  # per second, in which the times of frames are written; MPEG-4 has 16 bits for it
# encoders of H.264, of which a build of FFmpeg has some or none
H264 = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")
OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale:v": "3"}}
BIT_RATE = 8_000_000  # for encoders without a constant quality


class VideoWriter:
    """Encodes frames of one size; sides are made even, as H.264 stores colours at half size.

    Args:
        part: file that is written.
        rate: mean number of frames per second.
    """

    def __init__(self, part: Path, rate: Fraction):
        self._part, self._rate = part, rate
        self._container: Any = None
        self._stream: Any = None
        self._last = -1
        self.codec = ""
        self.frames = 0

    def add(self, pixels: NDArray[np.uint8], seconds: float) -> None:
        """Append a frame, (H, W, 3) uint8, RGB, shown from ``seconds`` on.

        Raises:
            DsegError: the encoder refuses it, or the file cannot be written.
        """
        import av

        try:
            pixels = _make_even(pixels)
            if self._container is None:
                self._open(pixels.shape[0], pixels.shape[1])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            self._last = max(round(seconds * TICKS), self._last + 1)
            frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
            self._container.mux(self._stream.encode(frame))
            self.frames += 1
        except av.FFmpegError as fault:
            raise _unwritable(fault) from fault

    def close(self) -> None:
        """Write what the encoder still holds, and the index.

        Raises:
            DsegError: the file cannot be written.
        """
        import av

        if self._container is None:
            return
        try:
            try:
                self._container.mux(self._stream.encode(None))
            finally:  # a file that is open cannot be removed on Windows
                self._container.close()
        except av.FFmpegError as fault:
            raise _unwritable(fault) from fault

    def _open(self, height: int, width: int) -> None:
        import av

        self.codec = next((name for name in H264 if name in av.codecs_available), "mpeg4")
        self._container = av.open(
            str(self._part), "w", format="mp4", container_options={"movflags": "faststart"}
        )
        options = OPTIONS.get(self.codec, {})
        self._stream = self._container.add_stream(self.codec, rate=self._rate, options=options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        if self.codec not in OPTIONS:
            self._stream.bit_rate = BIT_RATE


@contextmanager
def written_video(path: Path, rate: Fraction) -> Iterator[VideoWriter]:
    """Yield a writer of an MP4 file, which gets its name at the end.

    Raises:
        DsegError: the file cannot be written.
    """
    with written_whole(path) as part:
        writer = VideoWriter(part, rate)
        try:
            yield writer
        except BaseException:
            with suppress(DsegError):
                writer.close()
            raise
        writer.close()


def _make_even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return pixels


def _unwritable(fault: Exception) -> DsegError:
    reason = getattr(fault, "strerror", None) or str(fault)
    return DsegError(
        f"The video cannot be written: {reason}.",
        hint="make room, or name another --out.",
        exit_code=EXIT_FAILED_INPUTS,
    )
