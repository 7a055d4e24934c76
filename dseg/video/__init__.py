"""Videos: frames in and out, through PyAV, which the extra ``video`` installs."""

from __future__ import annotations

from dseg.video.frames import Frame, Sampling, VideoInfo, describe_time, open_video
from dseg.video.library import (
    LIVE,
    VIDEO_SUFFIXES,
    has_library,
    is_live,
    library_error,
    without_password,
)
from dseg.video.writing import VideoWriter, written_video

__all__ = [
    "LIVE",
    "VIDEO_SUFFIXES",
    "Frame",
    "Sampling",
    "VideoInfo",
    "VideoWriter",
    "describe_time",
    "has_library",
    "is_live",
    "library_error",
    "open_video",
    "without_password",
    "written_video",
]
