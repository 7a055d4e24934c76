"""Configuration of a benchmark, checked before a network is built."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dseg.device import check_bf16, find_device
from dseg.errors import DsegError
from dseg.images import MAX_PIXELS
from dseg.predict.runtimes import choose_runtime

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}
LEAST_SIDE = 16  # pixels
TIMED_ROWS = {  # timed in this order
    "forward": "the network alone, on images that lie ready on the device",
    "labels": "forward, logits resized to the image's size, best class of each pixel as uint8",
    "end to end": "PNG decoded, normalised, labelled, label ids written as PNG, without overlap",
}
MEMORY = "memory"


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Settings of a benchmark.

    Attributes:
        size: (height, width) of the image.
        batch: images in a forward pass.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        dtype: precision of the network, a key of ``DTYPES``.
        runtime: what computes the network: ``torch``, ``openvino``, ``onnx`` or ``auto``.
        compiled: compile the network by ``torch.compile``.
        deploy: fold batch norms into convolutions first, as ``dseg infer`` does.
        warmup: runs before the first sample, fewer if they take longer than ``seconds``.
        samples: timed runs, fewer if they take longer than ``seconds``, but at least three.
        seconds: time limit of each measurement, and of its warm-up.
        threads: number of CPU threads; None for torch's default.
        measured: what is measured: keys of ``TIMED_ROWS``, and ``MEMORY`` for the peak memory.

    Raises:
        DsegError: the device does not exist or does not support the precision, or a number is
            out of range.
    """

    size: tuple[int, int] = (1024, 2048)
    batch: int = 1
    device: str = "auto"
    dtype: str = "fp32"
    runtime: str = "torch"
    compiled: bool = False
    deploy: bool = True
    warmup: int = 10
    samples: int = 100
    seconds: float = 10.0
    threads: int | None = None
    measured: tuple[str, ...] = (*TIMED_ROWS, MEMORY)

    def __post_init__(self) -> None:
        height, width = self.size
        if min(self.size) < LEAST_SIDE or height * width > MAX_PIXELS:
            raise DsegError(
                f"An image of {height}x{width} cannot be measured.",
                hint=f"use sides of at least {LEAST_SIDE}, at most {MAX_PIXELS:,} pixels.",
            )
        least = {"batch": 1, "warmup": 1, "samples": 1, "threads": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise DsegError(f"{name} is {value}.", hint=f"use at least {smallest}.")
        if unknown := set(self.measured) - {*TIMED_ROWS, MEMORY}:
            raise DsegError(
                f"{min(unknown)!r} is not measured.",
                hint=f"choose from: {', '.join((*TIMED_ROWS, MEMORY))}.",
            )
        if not self.seconds > 0:
            raise DsegError(f"seconds is {self.seconds:g}.", hint="use more than 0.")
        _check_dtype(self.dtype, find_device(self.device), self.runtime_used)
        if self.compiled and self.runtime_used != "torch":
            raise DsegError(
                f"{self.runtime_used} is not compiled by torch.compile.",
                hint="use --runtime torch with --compile.",
            )

    @property
    def torch_device(self) -> torch.device:
        """The device that is measured."""
        return find_device(self.device)

    @property
    def runtime_used(self) -> str:
        """The runtime that is measured, which ``auto`` stands for."""
        return choose_runtime(self.runtime, self.torch_device)

    def use_threads(self) -> None:
        """Set the number of CPU threads of torch for this process."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)


def _check_dtype(name: str, device: torch.device, runtime: str) -> None:
    """Refuse a precision whose timings would be misleading."""
    if name not in DTYPES:
        raise DsegError(f"Unknown precision {name!r}.", hint=f"choose one of: {', '.join(DTYPES)}.")
    if name == "int8" and runtime == "torch":
        raise DsegError(
            "int8 cannot be measured with PyTorch.",
            hint="name a file of dseg export --precision int8 with --weights, and --runtime "
            "openvino or onnx.",
        )
    if name == "fp16" and device.type == "cpu" and runtime == "torch":
        raise DsegError(
            "fp16 cannot be measured on the CPU: there torch's fp16 convolutions are a hundred "
            "times slower than fp32.",
            hint="use fp32 or bf16, or a GPU.",
        )
    check_bf16(name, device)
