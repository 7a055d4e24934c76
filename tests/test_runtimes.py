"""Runtimes: OpenVINO and ONNX Runtime give PyTorch's labels, and how one is chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from cli_runs import pixels, refused, run, save_noise
from stand_ins import StandIn, draw
from torch import Tensor, nn

import dseg
from dseg.checkpoints import find_bundled
from dseg.device import check_bf16, has_bf16
from dseg.errors import DsegError
from dseg.folding import prepare
from dseg.graphs import GraphFacts, TraceError, cached_graph, graphs_folder, padded_size, trace
from dseg.graphs import cache as graph_cache
from dseg.graphs.needs import ImportFailedError
from dseg.models import SegModel, build_model
from dseg.nn.deterministic import adaptive_avg_pool2d
from dseg.nn.ladder import round_quotient
from dseg.predict import Predictor
from dseg.predict.runtimes import choose, make_runtime
from dseg.predict.runtimes.onnx import OnnxRuntime
from dseg.predict.runtimes.openvino import OpenVinoRuntime
from dseg.registry import MODELS

CPU = torch.device("cpu")
OTHERS = {"openvino": OpenVinoRuntime, "onnx": OnnxRuntime}
SIZES = (256, 320), (197, 389)  # (height, width), neither of which is traced
QUICK = {"fastscnn"}


class Net(StandIn):
    """Three classes whose scores are a strided convolution of the image."""

    def logits(self, image: Tensor) -> list[Tensor]:
        return [4 * self.conv(image)]


class Pool(StandIn):
    """Adds means over a grid of 3x3 cells, which ONNX has no operation for."""

    def logits(self, image: Tensor) -> list[Tensor]:
        scores = self.conv(image)
        cells = adaptive_avg_pool2d(scores, 3)
        return [scores + nn.functional.interpolate(cells, scores.shape[-2:], mode="nearest")]


class Untraceable(StandIn):
    def logits(self, image: Tensor) -> list[Tensor]:
        raise RuntimeError("an operation that cannot be traced\nwith details")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep graphs of each test to itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dseg" / "graphs"


@pytest.fixture
def notes() -> list[str]:
    return []


def view(height: int, width: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, height, width, generator=generator)


# Equal scores


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in dseg.MODELS],
)
@torch.inference_mode()
def test_every_network_gives_pytorchs_labels_at_sizes_that_were_not_traced(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name).eval()
    only = padded_size(model, SIZES[0]) if MODELS[name].one_size else None
    graph = trace(model, size=only).SerializeToString()
    prepared = prepare(model, device="cpu")
    for size in SIZES[: 1 if only else None]:
        image = view(*padded_size(model, size))
        expected = prepared.logits(image)[0]
        if not expected.isfinite().all():
            pytest.skip("its scores overflow with random weights")
        # PSANet's scores, with random weights, are ill-conditioned: folding norms changes 0.5 %.
        rounding = (model.logits(image)[0] - expected).abs().max()
        tolerance = max(1e-3 * expected.std(), 4 * rounding)
        for runtime in OTHERS.values():
            found = runtime(graph, model.card, GraphFacts(), "float32", 1)(image)
            assert found.shape == expected.shape
            assert (found - expected).abs().max() < tolerance
            equal = found.argmax(1) == expected.argmax(1)
            assert equal.double().mean() > 0.999


def test_a_network_whose_graph_has_one_size_says_so_at_once() -> None:
    model = build_model("psanet_r50").eval()
    with pytest.raises(TraceError, match="The graph of psanet_r50 has one image size") as caught:
        trace(model)
    assert "--size HxW" in caught.value.hint
    notes: list[str] = []
    _, runtime = make_runtime(model, "auto", device=CPU, on_note=notes.append)
    assert runtime.name == "torch"
    assert "has one image size" in notes[-1] and "PyTorch computes it instead" in notes[-1]


@pytest.mark.parametrize("name", OTHERS)
@torch.inference_mode()
def test_cells_of_adaptive_pooling_follow_the_size(name: str) -> None:
    model = Pool().eval()
    runtime = OTHERS[name](trace(model).SerializeToString(), model.card, GraphFacts(), "float32", 1)
    for size in ((60, 100), (256, 320)):
        image = view(*size)
        torch.testing.assert_close(runtime(image), model.logits(image)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
@torch.inference_mode()
def test_sizes_and_batches_can_change_from_image_to_image(name: str) -> None:
    model = Net().eval()
    runtime = OTHERS[name](trace(model).SerializeToString(), model.card, GraphFacts(), "float32", 1)
    for shape in ((32, 48), (64, 40), (64, 40), (64, 40, 3), (32, 48), (64, 40)):
        image = view(*shape)
        torch.testing.assert_close(runtime(image), model.logits(image)[0], rtol=1e-4, atol=1e-4)


def test_views_at_several_scales_with_their_flips_are_not_compiled_each(monkeypatch) -> None:
    _, runtime = make_runtime(Net().eval(), "openvino", device=CPU)
    compiled = []
    compute = OpenVinoRuntime._compile
    monkeypatch.setattr(
        OpenVinoRuntime, "_compile", lambda self, graph: compiled.append(1) or compute(self, graph)
    )
    for side in (32, 48, 64) * 2:
        for _ in range(2):
            runtime(torch.zeros(1, 3, side, side))
    assert len(compiled) == 2  # for the first size, and for all others


def test_a_result_is_not_overwritten_by_the_next_one() -> None:
    model = Net().eval()
    _, runtime = make_runtime(model, "openvino", device=CPU)
    first = runtime(view(32, 48))
    before = first.clone()
    runtime(view(32, 48) * 3)
    assert torch.equal(first, before)


def test_a_quotient_is_rounded_as_python_rounds() -> None:
    assert [round_quotient(5, 2), round_quotient(7, 2), round_quotient(1, 9)] == [2, 4, 1]
    assert all(
        round_quotient(dividend, divisor) == max(1, round(dividend / divisor))
        for dividend in range(1, 90)
        for divisor in range(1, 60)
    )


# The choice


def test_auto_is_openvino_on_the_cpu_if_it_is_installed(monkeypatch, notes) -> None:
    model = Net().eval()
    shell, runtime = make_runtime(model, "auto", device=CPU, on_note=notes.append)
    assert runtime.name == "openvino"
    assert notes == [
        "Converting stand-in, once for these weights, for OpenVINO, usually faster than PyTorch "
        "on a CPU."
    ]
    assert {weight.device.type for weight in shell.parameters()} == {"meta"}  # no second copy
    monkeypatch.setattr(choose, "is_installed", lambda *names: False)
    assert make_runtime(model, "auto", device=CPU)[1].name == "torch"


def test_auto_takes_pytorch_if_openvino_is_broken(monkeypatch, notes) -> None:
    def broken() -> None:
        raise ImportFailedError("openvino cannot be imported: no libtbb.so.", hint="")

    monkeypatch.setattr("dseg.predict.runtimes.openvino.openvino_core", broken)
    _, runtime = make_runtime(Net().eval(), device=CPU, on_note=notes.append)
    assert runtime.name == "torch"
    assert notes == ["openvino cannot be imported: no libtbb.so. PyTorch computes it instead."]


def test_auto_takes_pytorch_for_a_network_that_cannot_be_traced(notes) -> None:
    _, runtime = make_runtime(Untraceable().eval(), "auto", device=CPU, on_note=notes.append)
    assert runtime.name == "torch"
    assert "cannot be traced for any size: an operation that cannot be traced." in notes[-1]
    with pytest.raises(TraceError):
        make_runtime(Untraceable().eval(), "openvino", device=CPU)


def test_a_graph_with_other_scores_is_refused_and_not_kept(monkeypatch, cache, notes) -> None:
    other = Net().eval()
    with torch.no_grad():
        other.conv.weight *= 2
    wrong = trace(other)
    monkeypatch.setattr(graph_cache, "trace", lambda model, size: wrong)
    with pytest.raises(TraceError, match="computes other scores"):
        make_runtime(Net().eval(), "openvino", device=CPU)
    assert not cache.exists()
    assert make_runtime(Net().eval(), "auto", device=CPU, on_note=notes.append)[1].name == "torch"


@pytest.mark.parametrize(
    ("name", "precision", "problem"),
    [
        ("tvm", "fp32", "Unknown runtime 'tvm'"),
        ("onnx", "bf16", "ONNX Runtime has no bf16"),
        ("torch", "int8", "int8 needs a quantised file"),
        ("openvino", "int4", "OpenVINO does not compute networks in int4"),
        ("openvino", "fp16", "OpenVINO does not compute networks in fp16"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused(name: str, precision: str, problem: str) -> None:
    with pytest.raises(DsegError, match=problem):
        make_runtime(Net().eval(), name, precision, device=CPU)


def test_openvino_is_refused_on_other_devices() -> None:
    with pytest.raises(DsegError, match="OpenVINO is used on the CPU only, not on mps"):
        make_runtime(Net().eval(), "openvino", device=torch.device("mps"))


def test_bf16_is_refused_on_a_cpu_that_would_emulate_it(monkeypatch) -> None:
    monkeypatch.setattr("dseg.device.has_bf16", lambda device: False)
    with pytest.raises(DsegError, match="no bf16 instructions"):
        check_bf16("bf16", CPU)
    check_bf16("fp32", CPU)


def test_a_missing_package_is_named_with_the_extra(monkeypatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *rest, **more)

    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DsegError, match="onnxruntime cannot be imported") as caught:
        make_runtime(Net().eval(), "onnx", device=CPU)
    assert "pip install 'dseg[onnx]'" in caught.value.hint


# The cache


def test_a_graph_is_traced_once_for_its_weights(cache, notes) -> None:
    for _ in range(2):
        make_runtime(Net().eval(), "openvino", device=CPU, on_note=notes.append)
    make_runtime(Net().eval(), "onnx", device=CPU, on_note=notes.append)
    assert len(notes) == 1 and len(list(cache.iterdir())) == 1
    changed = Net().eval()
    with torch.no_grad():
        changed.conv.bias[0] += 1
    make_runtime(changed, "openvino", device=CPU, on_note=notes.append)
    assert len(notes) == 2 and len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-9] + b"x" * 9])
def test_a_damaged_graph_is_traced_again(cache, notes, damage) -> None:
    make_runtime(Net().eval(), "openvino", device=CPU, on_note=notes.append)
    [file] = cache.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        make_runtime(Net().eval(), "openvino", device=CPU, on_note=notes.append)
    assert len(notes) == 2 and len(list(cache.iterdir())) == 1


def test_onnx_runtime_reports_nothing_to_its_maker() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_cache_that_cannot_be_written_costs_time_only(monkeypatch, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    graph = cached_graph(Net().eval())
    assert isinstance(graph, bytes)
    assert make_runtime(Net().eval(), "openvino", device=CPU)[1].name == "openvino"


def test_the_oldest_graphs_are_removed(monkeypatch, cache) -> None:
    cache.mkdir(parents=True)
    for age, name in enumerate(("new", "old", "oldest")):
        file = cache / f"{name}.onnx"
        file.write_bytes(bytes(1000))
        os.utime(file, (1e9 - age, 1e9 - age))
    kept = cached_graph(Net().eval())
    assert isinstance(kept, Path)
    assert len(list(cache.iterdir())) == 4
    monkeypatch.setattr(graph_cache, "KEPT_BYTES", kept.stat().st_size + 1500)
    kept.unlink()
    cached_graph(Net().eval())
    assert sorted(file.name for file in cache.iterdir()) == sorted([kept.name, "new.onnx"])


def test_the_cache_is_below_the_users_cache_folder(monkeypatch, tmp_path) -> None:
    assert graphs_folder() == tmp_path / "cache" / "dseg" / "graphs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert graphs_folder() == Path.home() / ".cache" / "dseg" / "graphs"


# The whole way


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch, shared_cache: Path) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.delenv("DSEG_RUNTIME")
    save_noise("img/a.png", 64, 96)
    save_noise("img/b.png", 50, 70, seed=1)
    yield tmp_path


def test_infer_takes_openvino_by_itself_and_says_so(folder) -> None:
    first = run("infer", "img", "-o", "first", "--json", "-")
    assert "Converting dabnet, once for these weights, for OpenVINO" in first.stderr
    assert "on cpu (OpenVINO, float32)" in first.stderr
    facts = json.loads(first.stdout)
    assert (facts["done"], facts["runtime"], facts["precision"]) == (2, "openvino", "float32")
    second = run("infer", "img", "-o", "second")
    assert "Converting" not in second.stderr
    run("infer", "img", "-o", "torch", "--runtime", "torch", "--quiet")
    for name in ("a", "b"):
        ours, theirs = (pixels(f"{out}/label_ids/{name}.png") for out in ("first", "torch"))
        assert (ours == theirs).mean() > 0.999
        assert (ours == pixels(f"second/label_ids/{name}.png")).all()
    refused(
        run("infer", "img", "-o", "first", "--runtime", "torch", "-w", find_bundled()),
        2,
        "first holds results of another run (runtime: 'openvino', now 'torch')",
        "continue with --runtime openvino, name another --out",
    )


def test_multiscale_and_tiles_go_through_a_runtime(folder) -> None:
    for words in (("--scales", "0.5,1.0"), ("--tile", "48x48", "--scales", "1.0")):
        for runtime in ("openvino", "torch"):
            out = f"{runtime}{words[0]}"
            result = run(
                "multiscale-infer", "img", "-o", out, "--runtime", runtime, *words, "--quiet"
            )
            assert result.exit_code == 0, result.output
        for name in ("a", "b"):
            ours, theirs = (
                pixels(f"{runtime}{words[0]}/label_ids/{name}.png")
                for runtime in ("openvino", "torch")
            )
            assert (ours == theirs).mean() > 0.998


def test_torch_compile_is_refused_with_another_runtime(folder) -> None:
    refused(
        run("infer", "img", "--compile", "--runtime", "openvino"),
        2,
        "--compile is of PyTorch; --runtime openvino compiles every network itself",
        "use --runtime torch",
    )


def test_a_predictor_of_the_library_takes_a_runtime() -> None:
    model = Net().eval()
    image = draw(40, 60)
    expected = Predictor(model, device="cpu")(image)
    for name in OTHERS:
        found = Predictor(model, device="cpu", runtime=name)
        assert found.precision == "float32"
        assert (found(image).train_ids == expected.train_ids).mean() > 0.999
    half = Predictor(model, device="cpu", runtime="openvino", precision="bf16")
    assert half.precision == "bf16"
    assert (half(image).train_ids == expected.train_ids).mean() > 0.9


def test_the_metadata_of_a_cached_graph_names_its_network(folder) -> None:
    graph = cached_graph(dseg.load_model(weights=find_bundled()))
    assert isinstance(graph, Path)
    metadata = {entry.key: entry.value for entry in onnx.load(graph).metadata_props}
    assert json.loads(metadata["dseg"])["network"] == "dabnet"


def test_models_share_no_graph_with_other_shapes() -> None:
    a: SegModel = Net(classes=3)
    b: SegModel = Net(classes=4)
    assert cached_graph(a.eval()) != cached_graph(b.eval())


SIGNALLED = """
import os, signal
import torch
from dseg.predict.runtimes import make_runtime
from test_runtimes import Net, view

with torch.inference_mode():
    for _ in range(3):
        runtimes = [make_runtime(Net().eval(), "openvino", "bf16", device=torch.device("cpu"))[1]
                    for _ in range(2)]
        for runtime in runtimes:
            runtime(view(32, 48))
        runtimes.reverse()
        del runtime, runtimes
signal.signal(signal.SIGUSR1, lambda *more: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(not has_bf16(CPU), reason="this CPU has no bf16 instructions")
def test_a_signal_after_networks_have_gone_is_handled() -> None:
    folders = [str(Path(dseg.__file__).parent.parent), str(Path(__file__).parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_openvino_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    code = "from dseg.graphs.needs import openvino_core; openvino_core()"
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.iterdir()) == []  # its telemetry has a file there
