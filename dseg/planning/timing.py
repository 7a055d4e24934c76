"""Measure training steps and the latency of networks on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from dseg.bench.timing import measure
from dseg.errors import DsegError
from dseg.models import build_model
from dseg.recipes import Recipe
from dseg.registry import MODELS

CANDIDATES = (  # networks of different speeds, which have published scores
    *("gald_r50", "denseaspp161", "pspnet_r50", "swiftnet_r18", "bisenetv1", "bisenetv2"),
    *("dabnet", "espnet", "espnet_c"),
)
STEPS = 3
LATENCY_SAMPLES, LATENCY_SECONDS = 5, 3.0


@dataclass(frozen=True)
class StepTimes:
    """Measured training steps.

    Attributes:
        seconds_per_image: time of a step divided by its crops.
        bytes_per_image: memory of a step divided by its crops; 0 if it was not measured.
    """

    seconds_per_image: float
    bytes_per_image: int = 0


def time_steps(model: str, recipe: Recipe, num_classes: int, device: torch.device) -> StepTimes:
    """Measure forward and backward passes of two crops, the first of them not counted."""
    crops = 2
    network = build_model(model, num_classes).to(device).train()
    network = network.to(memory_format=torch.channels_last)
    images = torch.rand(crops, 3, *recipe.crop, device=device)
    labels = torch.randint(num_classes, (crops, *recipe.crop), device=device)
    times = []
    if device.type == "cuda":  # networks that were measured before may have needed more
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(1 + STEPS):
        _wait(device)
        begun = time.perf_counter()
        outputs = network(images)
        scores = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
        scores = torch.nn.functional.interpolate(scores, recipe.crop, mode="bilinear")
        loss = torch.nn.functional.cross_entropy(scores, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        _wait(device)
        times.append(time.perf_counter() - begun)
        network.zero_grad(set_to_none=True)
    used = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return StepTimes(min(times[1:]) / crops, used // crops)


def choose_by_latency(
    limit_ms: float, size: tuple[int, int], num_classes: int, device: torch.device
) -> tuple[str, float]:
    """Return the most accurate of nine networks that labels an image within a time, and its time.

    Networks are tried from the most to the least accurate on Cityscapes, with random weights, one
    image of ``size`` (height, width) at a time, in float32.

    Raises:
        DsegError: none is fast enough; the message names the fastest.
    """
    tried: dict[str, float] = {}
    for name in sorted(CANDIDATES, key=lambda name: -(MODELS[name].score or 0)):
        try:
            network = build_model(name, num_classes).to(device).eval()
        except DsegError:  # ESPNet needs at least five classes
            continue
        image = torch.rand(1, 3, *size, device=device)
        with torch.inference_mode():
            timing = measure(
                lambda network=network, image=image: network(image),  # type: ignore[misc]
                warmup=1,
                samples=LATENCY_SAMPLES,
                seconds=LATENCY_SECONDS,
                synchronise=lambda: _wait(device),
            )
        tried[name] = timing.median_ms
        if timing.median_ms <= limit_ms:
            return name, timing.median_ms
    fastest = min(tried, key=lambda name: tried[name])
    raise DsegError(
        f"No network labels an image of {size[1]}x{size[0]} pixels within {limit_ms:g} ms on this "
        f"machine; the fastest is {fastest} with {tried[fastest]:.0f} ms.",
        hint="allow more, or resize the images (dseg infer --input-scale 0.5).",
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
