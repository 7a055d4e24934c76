"""Benchmarks of networks: measuring, reports and plots."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from stand_ins import draw
from torch.nn.modules.batchnorm import _BatchNorm

import dseg
from dseg.bench import (
    BenchConfig,
    Cost,
    Report,
    bench_network,
    check_plot,
    plot,
    report,
    write_plot,
)
from dseg.bench import memory as memory_of
from dseg.bench.machine import describe_machine, describe_memory
from dseg.bench.runner import Runner
from dseg.bench.scene import write_street
from dseg.bench.timing import Timing, measure
from dseg.checkpoints import find_bundled, load_model
from dseg.errors import DsegError
from dseg.images import read_image, read_size
from dseg.models import find_class
from dseg.predict import Predictor

SIZE = (32, 64)
ROWS = ["forward", "labels", "end to end"]
BF16 = "bfloat16 by autocast"


def make_config(**more: Any) -> BenchConfig:
    few = {"size": SIZE, "device": "cpu", "warmup": 1, "samples": 3, "seconds": 0.01}
    return BenchConfig(**(few | more))


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the measurement of memory, which starts a process."""
    monkeypatch.setattr(report, "measure_growth", lambda *_: 5 * 2**20)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("street") / "street.png"
    write_street(path, SIZE)
    return path


class Clock:
    """Clock that advances by the given seconds in each call of the timed function."""

    def __init__(self, *runs: float):
        self.now, self.runs, self.done = 0.0, list(runs), 0

    def __call__(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += self.runs[min(self.done, len(self.runs) - 1)]
        self.done += 1


def test_warm_up_runs_are_not_timed() -> None:
    clock = Clock(50.0, 1.0, 2.0, 3.0, 4.0)
    timing = measure(clock.work, batch=8, warmup=1, samples=4, seconds=100, clock=clock)
    assert timing.median_ms == 2500
    assert timing.p95_ms == pytest.approx(3850)
    assert timing.frames_per_s == pytest.approx(8 / 2.5)
    assert (timing.samples, clock.done) == (4, 5)


def test_samples_stop_with_the_time_but_there_are_three() -> None:
    clock = Clock(4.0)
    assert measure(clock.work, warmup=1, samples=100, seconds=18, clock=clock).samples == 5
    clock = Clock(30.0)
    assert measure(clock.work, warmup=1, samples=100, seconds=18, clock=clock).samples == 3
    assert measure(clock.work, warmup=1, samples=1, seconds=18, clock=clock).samples == 3


def test_the_warm_up_stops_with_the_time_too() -> None:
    clock = Clock(4.0)
    measure(clock.work, warmup=100, samples=3, seconds=18, clock=clock)
    assert clock.done == 5 + 3


def test_the_device_is_waited_for_within_a_sample() -> None:
    clock = Clock(0.0)

    def wait() -> None:
        clock.now += 2

    timing = measure(clock.work, warmup=1, samples=3, seconds=100, synchronise=wait, clock=clock)
    assert timing.median_ms == 2000


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"size": (8, 64)}, "An image of 8x64 cannot be measured."),
        ({"size": (20_000, 20_000)}, "An image of 20000x20000 cannot be measured."),
        ({"batch": 0}, "batch is 0."),
        ({"samples": 0}, "samples is 0."),
        ({"warmup": 0}, "warmup is 0."),
        ({"threads": 0}, "threads is 0."),
        ({"seconds": 0.0}, "seconds is 0."),
        ({"seconds": float("nan")}, "seconds is nan."),
        ({"dtype": "int4"}, "Unknown precision 'int4'."),
        ({"device": "cuda:7"}, "This machine has no device 'cuda:7'."),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_measured_is_refused(
    wrong: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DsegError) as caught:
        make_config(**wrong)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("dtype", "problem", "hint"),
    [
        ("int8", "cannot be measured with PyTorch", "dseg export --precision int8"),
        ("fp16", "on the CPU", "use fp32 or bf16, or a GPU"),
    ],
)
def test_a_misleading_precision_is_refused(dtype: str, problem: str, hint: str) -> None:
    with pytest.raises(DsegError, match=problem) as caught:
        make_config(dtype=dtype)
    assert hint in caught.value.hint


@pytest.mark.usefixtures("no_process")
def test_a_network_is_measured_in_three_rows(street: Path) -> None:
    found = bench_network("dabnet", make_config(batch=2), street)
    assert found.fault == ""
    assert found.cost is not None
    assert (found.cost.params, found.score) == (756_643, 69.57)
    assert found.cost.macs < dseg.MODELS["dabnet"].macs / 1000
    assert list(found.timings) == ROWS
    assert all(timing.samples >= 3 for timing in found.timings.values())
    facts = found.as_dict()
    assert facts["gflops"] == 2 * facts["gmacs"]
    assert facts["peak_memory_mib"] == 5.0
    assert facts["fault"] is None
    assert list(facts["end_to_end"]) == ["median_ms", "p95_ms", "frames_per_s", "samples"]


def test_sides_that_a_network_cannot_read_are_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_class("dabnet"), "min_size", 64)
    runner = Runner("dabnet", make_config(size=(40, 65)))
    view = runner.view([draw(40, 65)])
    assert view.shape == (1, 3, 64, 65)
    assert view.is_contiguous(memory_format=torch.channels_last)
    assert runner.label(view, 40, 65).shape == (1, 40, 65)


@pytest.mark.parametrize("batch", [1, 2])
def test_labels_are_those_of_the_predictor(batch: int) -> None:
    model = load_model(None, find_bundled())
    images = [draw(64, 96, seed) for seed in range(batch)]
    runner = Runner(model.card.network, make_config(), find_bundled())
    found = runner.label(runner.view(images), 64, 96)
    assert found.dtype == torch.uint8
    predictor = Predictor(model, device="cpu")
    for labels, image in zip(found.numpy(), images, strict=True):
        assert (labels == predictor(image).train_ids).mean() > 0.999


def test_bf16_is_that_of_the_predictor() -> None:
    predictor = Predictor.load(weights=find_bundled(), device="cpu", precision="bf16")
    name = predictor.model.card.network
    full, half = (
        Runner(name, make_config(dtype=dtype), find_bundled()) for dtype in ("fp32", "bf16")
    )
    image = draw(64, 96)
    view = half.view([image])
    scores = half.forward(view)
    assert (half.runtime, half.dtype_name, half.precision) == ("torch", "bf16", BF16)
    assert (full.precision, scores.dtype) == ("float32", torch.float32)
    assert 1e-4 < (scores - full.forward(view)).abs().max() / scores.std() < 0.5
    labels = half.label(view, 64, 96)[0].numpy()
    assert (labels == predictor(image).train_ids).mean() > 0.999


@pytest.mark.parametrize("name", ["gald_r50", "dgcnet_r50", "glore_r50", "emanet_r50"])
def test_networks_with_sums_in_float32_are_measured_in_bf16(name: str) -> None:
    runner = Runner(name, make_config(dtype="bf16"))
    assert runner.label(runner.view([draw(64, 96)]), 64, 96).shape == (1, 64, 96)


def test_norms_stay_where_they_are_wanted() -> None:
    def count(**more: Any) -> int:
        model = Runner("dabnet", make_config(**more)).model
        assert not model.training
        return sum(isinstance(module, _BatchNorm) for module in model.modules())

    assert (count(deploy=True), count(deploy=False)) == (22, 71)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "out of memory"),
        (RuntimeError("no kernel\n  for this"), "RuntimeError: no kernel"),
        (NotImplementedError(), "NotImplementedError"),
        (DsegError("It is odd.", hint="make it even."), "It is odd."),
        (ValueError("long " * 100), f"{('ValueError: ' + 'long ' * 100)[:117]}..."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_is_reported_in_a_line(fault: Exception, reason: str) -> None:
    assert report._reason(fault) == reason


@pytest.mark.usefixtures("no_process")
def test_what_was_measured_before_a_fault_is_kept(
    street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(Runner, "label", fail)
    found = bench_network("dabnet", make_config(), street)
    assert found.fault == "RuntimeError: no kernel"
    assert list(found.timings) == ["forward"]
    assert found.as_dict()["labels"] is None


def test_memory_is_the_growth_of_a_fresh_process() -> None:
    model_bytes = 4 * dseg.MODELS["mobilenetdenseaspp"].params
    growth = memory_of.measure_growth("mobilenetdenseaspp", make_config(threads=1), None)
    assert growth is not None
    assert model_bytes < growth < 2**30


def test_that_process_keeps_freed_memory_as_inference_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(memory_of, "keep_freed_memory", lambda: asked.append(True))
    memory_of._grow("dabnet", make_config(threads=torch.get_num_threads()), None)
    assert asked == [True]


def end_badly(*_: object) -> None:
    os._exit(1)


def test_a_process_that_is_killed_is_a_fault(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_of, "_grow", end_badly)
    found = bench_network("dabnet", make_config(), street)
    assert "most likely memory ran out" in found.fault
    assert found.cost is not None and not found.timings


def test_the_peak_is_not_below_what_is_held() -> None:
    held, most = memory_of.resident("VmRSS"), memory_of.resident("VmHWM")
    assert held is not None and most is not None
    assert most >= held > 2**20


def test_the_machine_is_described() -> None:
    facts = describe_machine(make_config())
    assert (facts["device"], facts["threads"]) == ("cpu", torch.get_num_threads())
    assert facts["device_name"]
    assert facts["versions"]["torch"] == torch.__version__
    assert "fresh process" in describe_memory(make_config())
    assert describe_memory(make_config(compiled=True)).endswith("not compiled")


@pytest.mark.parametrize("size", [(20, 40), (64, 100), (70, 2100)], ids=str)
def test_the_street_is_of_any_size_and_always_the_same(
    size: tuple[int, int], tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        write_street(tmp_path / name, size)
    assert read_size(tmp_path / "a.png") == size
    assert np.array_equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png"))
    assert read_image(tmp_path / "a.png").std() > 10


def reports(count: int = 40) -> list[Report]:
    """Return made-up reports, every second one with a score."""
    chance = random.Random(3)
    made = []
    for index in range(count):
        time = 10 ** chance.uniform(0.5, 2.5)
        score = chance.uniform(68, 81) if index % 2 else None
        timings = {"labels": Timing(time, time, 1000 / time, 3)}
        made.append(Report(name=f"network_{index}_of_many", score=score, timings=timings))
    return made


@pytest.mark.parametrize(
    ("name", "starts"), [("a.png", b"\x89PNG"), ("b/c.SVG", b"<?xml"), ("d.pdf", b"%PDF")]
)
def test_the_plot_is_of_the_format_that_its_suffix_names(
    name: str, starts: bytes, tmp_path: Path
) -> None:
    write_plot(reports(), "a machine", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(starts)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_networks_are_drawn_too(count: int, tmp_path: Path) -> None:
    failed = Report(name="dabnet", score=69.57, fault="out of memory")
    write_plot([*reports(count), failed], "a machine", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.gif", "a", "png"])
def test_a_suffix_that_names_no_format_is_refused(name: str) -> None:
    with pytest.raises(DsegError, match="its suffix names no format") as caught:
        check_plot(Path(name))
    assert ".png, .svg, .pdf" in caught.value.hint


def test_points_are_numbered_by_rising_time_and_named_in_the_legend() -> None:
    figure = plot.draw([*reports(40), Report(name="dabnet", fault="out of memory")], "a machine")
    scored, unscored = figure.axes
    for axes in (scored, unscored):
        numbers = [int(text.get_text()) for text in axes.texts]
        points = [line for line in axes.lines if line.get_marker() == "o"]
        times = [line.get_xdata()[0] for line in points]  # type: ignore[index]
        assert len(numbers) == len(points) == 20
        assert numbers == sorted(numbers) and times == sorted(times)
    names = [text.get_text().split() for text in figure.legends[0].get_texts()]
    assert [int(number) for number, *_ in names] == list(range(1, 41))
    assert {name for _, name, *_ in names} == {f"network_{n}_of_many," for n in range(40)}


def test_the_legend_of_all_networks_fits_below_the_plot() -> None:
    variants = [(runtime, dtype) for runtime in ("torch", "openvino") for dtype in ("fp32", "bf16")]
    timing = {"labels": Timing(2345.6, 2345.6, 1, 3)}
    found = [
        Report(name=name, runtime=runtime, dtype=dtype, score=70.0, timings=timing)
        for name in dseg.MODELS
        for runtime, dtype in variants
    ]
    figure = plot.draw(found, "a machine")
    FigureCanvasAgg(figure).draw()
    whole, legend = figure.bbox, figure.legends[0].get_window_extent()
    assert whole.x0 <= legend.x0 and legend.x1 <= whole.x1 and legend.y0 >= whole.y0
    assert legend.y1 < figure.axes[1].get_window_extent().y0


def test_variants_of_a_network_share_a_number_and_a_line_of_the_legend() -> None:
    timed = [("torch", "fp32", 90.0), ("openvino", "fp32", 60.0), ("openvino", "bf16", 30.0)]
    found = [
        Report(
            name=name,
            runtime=runtime,
            dtype=dtype,
            score=70.0,
            timings={"labels": Timing(factor * time, factor * time, 1, 3)},
        )
        for name, factor in (("slow", 10), ("fast", 1))
        for runtime, dtype, time in timed[: 3 if name == "fast" else 2]
    ]
    figure = plot.draw(found, "a machine")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("1  fast, 90 / 60 / 30 ms", "2  slow, 900 / 600 / - ms")
    ]
    variants = axes.get_legend()
    assert variants is not None
    assert [text.get_text() for text in variants.get_texts()] == [
        *("PyTorch fp32", "OpenVINO fp32", "OpenVINO bf16")
    ]


def test_only_what_is_asked_for_is_measured(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> int:
        raise AssertionError("memory was measured")

    monkeypatch.setattr(report, "measure_growth", never)
    found = bench_network("dabnet", make_config(measured=("labels",)), street)
    assert (list(found.timings), found.memory, found.fault) == (["labels"], None, "")
    assert found.cost is not None
    with pytest.raises(DsegError, match="'speed' is not measured"):
        make_config(measured=("speed",))


def test_a_report_is_read_back_from_its_dictionary() -> None:
    timings = {"labels": Timing(3.0, 4.0, 333.0, 5)}
    made = Report(
        name="dabnet",
        runtime="openvino",
        dtype="bf16",
        precision="bfloat16",
        cost=Cost(756_643, 10_220_380_160, 20_440_760_320),
        memory=5 * 2**20,
        timings=timings,
        score=69.57,
    )
    assert Report.from_dict(made.as_dict()) == made
    assert Report.from_dict(Report(name="dabnet", fault="gone").as_dict()).fault == "gone"
