"""Compare a network in PyTorch as its authors run it, in dseg, and in other runtimes' own loops.

Each contestant labels one image, from decoded RGB pixels to an array of labels. All of them take
turns within one process, so that a machine whose speed drifts slows all alike: compare ratios. A
matrix product in the same precision shows what the machine can do.

    python scripts/bench_peers.py --model DenseASPP161 --size 512x1024 --rounds 5 --json peers.json
    python scripts/bench_peers.py --model DABNet --img-dir camvid/train --plot peers.png
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from dseg.allocator import keep_freed_memory
from dseg.bench.config import BenchConfig
from dseg.bench.cost import count_cost
from dseg.bench.machine import describe_machine
from dseg.checkpoints import load_model, save_model
from dseg.config.export import ExportConfig
from dseg.device import has_bf16
from dseg.export import export
from dseg.images import Pixels
from dseg.models import SegModel, build_model
from dseg.predict import Predictor
from dseg.predict.runtimes import open_exported
from dseg.registry import find_model
from dseg.synth import draw_scene

Work = Callable[[], object]
CPU = torch.device("cpu")
SIDE = 2048  # of the matrices
Size = tuple[int, int]


def main() -> None:
    words = _parse()
    keep_freed_memory()
    name = find_model(words.model)
    model = load_model(name, words.weights) if words.weights else _random(name)
    height, width = (int(side) for side in words.size.split("x"))
    drawn = min(height, 2048), min(width, 2048)
    image = np.ascontiguousarray(draw_scene(0, 0, drawn)[0])
    with TemporaryDirectory() as folder:
        works = contestants(model, image, Path(folder), words.img_dir)
        times = race(works, words.rounds)
    flops = count_cost(name, *image.shape[:2]).flops
    facts = summarise(times, flops)
    facts |= {
        "network": name,
        "size": list(image.shape[:2]),
        "weights": Path(words.weights).name if words.weights else "random",
        "rounds": words.rounds,
        "machine": describe_machine(BenchConfig(device="cpu")),
    }
    if words.json:
        Path(words.json).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if words.plot:
        plot(facts, Path(words.plot))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="DABNet")
    parser.add_argument("--weights", help="checkpoint (default: random weights)")
    parser.add_argument("--size", default="512x1024", help="height x width")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--img-dir", help="images to calibrate int8 on (default: without int8)")
    parser.add_argument("--json")
    parser.add_argument("--plot")
    return parser.parse_args()


def _random(name: str) -> SegModel:
    torch.manual_seed(0)
    return build_model(name).eval()


def contestants(
    model: SegModel, image: Pixels, folder: Path, img_dir: str | None
) -> dict[str, Work]:
    """Return what takes part, by name; each labels the image once."""
    works: dict[str, Work] = {"authors' way, PyTorch": authors_way(model, image)}
    precisions = ["fp32", *(["bf16"] if has_bf16(CPU) else [])]
    for runtime in ("torch", "openvino", "onnx"):
        for precision in precisions if runtime != "onnx" else ["fp32"]:
            predictor = Predictor(model, device="cpu", runtime=runtime, precision=precision)
            works[f"dseg, {predictor.runtime.name} {precision}"] = _bound(predictor, image)
    size = (image.shape[0], image.shape[1])
    weights = folder / "net.safetensors"
    save_model(model, weights)
    whole = ExportConfig(size=size, input="uint8", output="labels")
    path = folder / "labels.onnx"
    export(model, weights, whole, path)
    for precision in precisions:
        works[f"own loop, OpenVINO {precision}"] = openvino_loop(path, image, precision)
    works["own loop, ONNX Runtime fp32"] = onnx_loop(path, image)
    if img_dir is not None:
        config = ExportConfig(precision="int8", img_dir=Path(img_dir), size=size)
        path = folder / "int8.onnx"
        export(model, weights, config, path, on_note=print)
        shell, runtime_, _ = open_exported(path, "openvino", device=CPU)
        predictor = Predictor(shell, device="cpu", runtime=runtime_)
        works["dseg, openvino int8"] = _bound(predictor, image)
    for precision in precisions:
        works[f"matrix product {precision}"] = product(precision)
    return works


def _bound(predictor: Predictor, image: Pixels) -> Work:
    return lambda: predictor(image)


def authors_way(model: SegModel, image: Pixels) -> Work:
    """Return eager PyTorch with norms as trained, contiguous tensors and NumPy's argmax."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.card.mean, model.card.std))

    @torch.no_grad()
    def work() -> object:
        view = torch.from_numpy(image).permute(2, 0, 1).contiguous().float().div(255)
        scores = model.logits(((view - mean) / std)[None])[0]
        scores = F.interpolate(
            scores, image.shape[:2], mode="bilinear", align_corners=model.align_corners
        )
        return scores.numpy().argmax(1).astype(np.uint8)

    return work


def openvino_loop(path: Path, image: Pixels, precision: str) -> Work:
    """Return OpenVINO alone on an exported file, from pixels to labels."""
    import openvino

    options = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    return lambda: request.infer([image[None]], share_inputs=True)


def onnx_loop(path: Path, image: Pixels) -> Work:
    """Return ONNX Runtime alone on an exported file, from pixels to labels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image[None]})


def product(precision: str) -> Work:
    """Return a product of two square matrices."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    first, second = (torch.randn(SIDE, SIDE, dtype=dtype) for _ in range(2))
    return lambda: first @ second


def race(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - begun)
        print(f"round {turn} of {rounds}", flush=True)
    return times


def summarise(times: dict[str, list[float]], flops: int) -> dict[str, Any]:
    """Print and return medians, and ratios within each round to the authors' way."""
    reference = next(iter(times.values()))
    rows: dict[str, Any] = {}
    for name, own in times.items():
        done = 2 * SIDE**3 if name.startswith("matrix") else flops
        ratio = median(first / second for first, second in zip(reference, own, strict=True))
        rows[name] = {
            "median_ms": 1000 * median(own),
            "min_ms": 1000 * min(own),
            "gflops_per_s": done / median(own) / 1e9,
            "times_as_fast": None if name.startswith("matrix") else ratio,
        }
        shown = "" if name.startswith("matrix") else f"{ratio:6.2f} times as fast"
        speed = f"{1000 * median(own):9.1f} ms {done / median(own) / 1e9:8.0f} GFLOP/s"
        print(f"{name:30} {speed} {shown}")
    return {"contestants": rows}


def plot(facts: dict[str, Any], path: Path) -> None:
    """Draw how many times as fast as the authors' way each contestant is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = {
        name: row["times_as_fast"]
        for name, row in facts["contestants"].items()
        if row["times_as_fast"] is not None
    }
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(rows) + 1.2))
    bars = axes.barh(list(rows), list(rows.values()), color="#4c78a8")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    height, width = facts["size"]
    axes.set_xlabel("times as fast as the authors' way")
    axes.set_title(f"{facts['network']}, {height}x{width}, {facts['machine']['device_name']}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
