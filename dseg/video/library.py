"""PyAV, where it is installed; the files and addresses that it reads."""

from __future__ import annotations

import platform
import re
from importlib.util import find_spec
from typing import Any

from dseg.errors import DsegError

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
LIVE = "webcam:0 or rtsp://HOST/PATH"
_WEBCAM = re.compile(r"(?:webcam:)?(\d{1,2})")
_STREAM = re.compile(r"rtsps?://", re.IGNORECASE)


def has_library() -> bool:
    """Return True if PyAV is installed."""
    return find_spec("av") is not None


def library_error(source: str) -> DsegError:
    """Return the error for a video without PyAV."""
    return DsegError(
        f"{source} is a video, and PyAV, which reads videos, is not installed.",
        hint="pip install 'dseg[video]'; or extract frames with: "
        "ffmpeg -i VIDEO -vf fps=5 frames/%06d.png, and name the folder.",
    )


def without_password(address: str) -> str:
    """Return an address without the user name and password that it can hold, for messages."""
    return re.sub(r"//[^/@]*@", "//", address)


def is_live(source: str) -> bool:
    """Return True for a webcam (``webcam:0``, ``0``) and for the address of an RTSP stream."""
    return bool(_WEBCAM.fullmatch(source) or _STREAM.match(source))


def find_input(source: str) -> dict[str, Any]:
    """Return the arguments for PyAV's ``open`` for a file, webcam or stream.

    Raises:
        DsegError: webcams cannot be opened by number on this system.
    """
    if webcam := _WEBCAM.fullmatch(source):
        number = webcam[1]
        if platform.system() == "Linux":
            return {"file": f"/dev/video{number}", "format": "v4l2", "timeout": 10.0}
        if platform.system() == "Darwin":
            options = {"framerate": "30"}
            return {"file": number, "format": "avfoundation", "options": options, "timeout": 10.0}
        raise DsegError(
            f"{source}: webcams are opened by number on Linux and macOS only.",
            hint="record a file with the camera program, and name the file.",
        )
    if _STREAM.match(source):
        return {"file": source, "options": {"rtsp_transport": "tcp"}, "timeout": 10.0}
    # a playlist in a file must not make FFmpeg read other files or addresses
    return {"file": source, "options": {"protocol_whitelist": "file"}}
