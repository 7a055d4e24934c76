"""Describe what a measurement depends on besides the network: device, precision, versions."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import PIL
import torch

from dseg import __version__
from dseg.bench.config import BenchConfig
from dseg.speeds import processor_name


def describe_machine(config: BenchConfig, *others: BenchConfig) -> dict[str, Any]:
    """Return device, number of threads and versions, for JSON; ``others`` add their runtimes."""
    device = config.torch_device
    versions = {
        "dseg": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }
    for runtime in dict.fromkeys(one.runtime_used for one in (config, *others)):
        if runtime != "torch":
            package = {"openvino": "openvino", "onnx": "onnxruntime"}[runtime]
            versions[package] = version(package)
    if device.type == "cuda":
        versions |= {"cuda": str(torch.version.cuda), "cudnn": _cudnn_version()}
    return {
        "device": str(device),
        "device_name": describe_device(device),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "versions": versions,
    }


def describe_memory(config: BenchConfig) -> str:
    """Return a description of the peak memory that is reported."""
    known = {
        "cuda": "peak of torch's allocations for the network and labelling one batch",
        "cpu": "growth of a fresh process by building the network and labelling one batch",
    }
    kind = config.torch_device.type
    text = known.get(kind, "not known on this device")
    return f"{text}, not compiled" if config.compiled and kind == "cpu" else text


def _cudnn_version() -> str:
    number: Callable[[], int | None] = torch.backends.cudnn.version
    return str(number())


def describe_device(device: torch.device) -> str:
    """Return the name of a GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()
