"""What ``--verbose`` says: the network, what computes it and why, and the time of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dseg.cli.console import error_width, say
from dseg.cli.wrapping import wrap_facts
from dseg.config import NetworkConfig
from dseg.errors import counted
from dseg.registry import MODELS

UNLIMITED = 10_000  # columns of a line off a terminal

if TYPE_CHECKING:
    from dseg.predict import Manifest, Predictor, Summary


def say_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print facts as aligned lines on stderr."""
    for line in wrap_facts(facts, error_width() or UNLIMITED):
        say(line)


def say_details(
    predictor: Predictor,
    manifest: Manifest,
    network: NetworkConfig,
    *,
    images: int,
    videos: int = 0,
) -> None:
    """Print what labels the images, and why it was chosen."""
    space, spec = predictor.label_space, MODELS.get(manifest.network)
    size = f", {spec.params / 1e6:.2f} M parameters" if spec else ""
    inputs = [counted(images, "image")] * bool(images) + [counted(videos, "video")] * bool(videos)
    say_facts(
        [
            ("Network", f"{manifest.network}{size}, {len(space.names)} classes of {space.name}"),
            ("Weights", f"{manifest.weights}, SHA-256 {manifest.sha256[:12]}..."),
            ("Runtime", _describe_runtime(predictor, network)),
            ("Protocol", f"{network.protocol_name}: {manifest.protocol.describe()}"),
            ("Input", " and ".join(inputs)),
        ]
    )


def _describe_runtime(predictor: Predictor, network: NetworkConfig) -> str:
    """Return what computes the network, and why it does."""
    import torch

    from dseg.graphs.needs import is_installed
    from dseg.predict.runtimes import TITLES

    runtime, device = predictor.runtime, predictor.device
    words = [f"{TITLES[runtime.name]} in {predictor.precision} on {device}"]
    if device.type == "cpu":
        words.append(counted(torch.get_num_threads(), "thread"))
    if network.runtime == "auto" and runtime.name == "openvino":
        words.append("as OpenVINO is installed")
    elif network.runtime == "auto" and device.type == "cpu":
        installed = is_installed("openvino")
        words.append(f"as OpenVINO {'lacks this network' if installed else 'is not installed'}")
    return ", ".join(words)


def say_times(summary: Summary) -> None:
    """Print the time of each stage."""
    stages = {"reading": summary.read_s, "network": summary.forward_s, "writing": summary.write_s}
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in stages.items())
    say_facts([("Time", f"{summary.seconds:.2f} s, of which {parts}; stages overlap")])
