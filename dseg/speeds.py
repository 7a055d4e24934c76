"""Milliseconds of networks on this machine, as ``dseg bench`` measured them, in the user's cache.

There is a file for each device: ``speeds/<processor>-<cores>.json``, or with the GPU's name behind.
"""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dseg.downloads import cache_folder
from dseg.errors import DsegError
from dseg.files import write_json
from dseg.jsonio import read_object, take_fields

SIZE = (1024, 2048)  # of the images whose times are listed


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The time from an image in memory to its labels, of one network.

    Attributes:
        ms: milliseconds an image, the median.
        runtime: ``torch``, ``openvino`` or ``onnx``.
        precision: precision of the network: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        device: name of the processor or GPU.
    """

    ms: float
    runtime: str
    precision: str
    device: str


def processor_name() -> str:
    """Return the name of this machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_speeds() -> dict[str, Speed]:
    """Return the fastest time of each network on this machine's GPU, else on its processor."""
    with suppress(DsegError):  # a user without a home
        files = [*sorted(_folder().glob(f"{_machine()}-on-*.json")), _file("")]
        return next((found for file in files if (found := _read(file))), {})
    return {}


def keep_speed(name: str, speed: Speed, *, on_gpu: bool) -> None:
    """Keep the time of a network, unless another runtime or precision has a shorter one.

    A cache that cannot be written is left alone.
    """
    with suppress(DsegError, OSError):
        _keep(_file(speed.device if on_gpu else ""), name, speed)


def _keep(file: Path, name: str, speed: Speed) -> None:
    found = _read(file)
    before = found.get(name)
    same = before is not None and (before.runtime, before.precision) == (
        speed.runtime,
        speed.precision,
    )
    if before is not None and before.ms < speed.ms and not same:
        return
    found[name] = speed
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {network: asdict(one) for network, one in sorted(found.items())})


def _folder() -> Path:
    return cache_folder() / "speeds"


def _machine() -> str:
    return f"{_slug(processor_name())}-{os.cpu_count() or 1}"


def _file(gpu: str) -> Path:
    return _folder() / f"{_machine()}{f'-on-{_slug(gpu)}' if gpu else ''}.json"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "unknown"


def _read(file: Path) -> dict[str, Speed]:
    """Return the times in a file; none if it does not exist or is damaged."""
    found: dict[str, Speed] = {}
    with suppress(OSError, ValueError, TypeError):
        entries: dict[str, Any] = read_object(file)
        for name, entry in entries.items():
            found[name] = Speed(**take_fields(Speed, entry, name))
    return found
