"""``dseg export``: the files, their metadata, and that dseg reads them like checkpoints."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cli_runs import pixels, refused, run, save_noise
from click.testing import Result
from data_trees import make_camvid
from onnx import helper

import dseg
from dseg.checkpoints import find_bundled, sha256
from dseg.config.export import ExportConfig
from dseg.errors import DsegError
from dseg.export import write as writing
from dseg.graphs import GraphFacts, add_facts, read_graph
from dseg.predict.runtimes import open_exported

comparing = importlib.import_module(
    "dseg.export.compare"
)  # the package has a function of this name
verifying = importlib.import_module("dseg.export.verify")
BUNDLED = find_bundled()
IMAGE = 64, 96


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The bundled network as ONNX for any size, and what the command printed."""
    target = tmp_path_factory.mktemp("exported") / "any.onnx"
    return target, run("export", BUNDLED, "-o", target, "--json", "-", "--licence", "MIT")


@pytest.fixture(scope="module")
def labelling(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The bundled network from pixels of one size to labels."""
    target = tmp_path_factory.mktemp("exported") / "labels.onnx"
    words = ("--size", "64x96", "--input", "uint8", "--output", "labels")
    return target, run("export", BUNDLED, "-o", target, *words)


@pytest.fixture
def openvino_file(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same network as OpenVINO IR, without tracing it again."""
    graph = onnx.load(made[0])
    monkeypatch.setattr(writing, "trace", lambda *names, **options: graph)
    target = tmp_path / "net.xml"
    result = run("export", BUNDLED, "--format", "openvino", "-o", target)
    assert result.exit_code == 0, result.output
    return target


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_noise("img/a.png", *IMAGE)
    run("infer", "img", "-w", BUNDLED, "-o", "torch", "--save", "train_ids")
    return tmp_path


def agreement(out: str) -> float:
    ours, theirs = (pixels(f"{folder}/train_ids/a.png") for folder in (out, "torch"))
    return float((ours == theirs).mean())


# Files


def test_an_exported_file_is_verified_by_each_runtime(made) -> None:
    target, result = made
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["bytes"] == target.stat().st_size
    checks = facts["checks"]
    assert {check["runtime"] for check in checks} == {"onnx", "openvino"}
    assert {check["images"] for check in checks} == {"noise", "drawn scenes"}
    assert {tuple(check["size"]) for check in checks} == {(192, 384), (277, 213)}
    assert all(check["difference"] < 1e-4 and check["agreement"] > 0.999 for check in checks)


def test_damaged_images_are_left_out_of_verification(made, folder, monkeypatch) -> None:
    Path("img/0.png").write_text("not an image")
    graph = onnx.load(made[0])
    monkeypatch.setattr(writing, "trace", lambda *names, **options: graph)
    result = run("export", BUNDLED, "-o", "net.onnx", "--img-dir", "img")
    assert result.exit_code == 0, result.output


def test_the_metadata_holds_what_a_user_of_the_file_needs(made) -> None:
    target, _ = made
    graph, card, facts = read_graph(target)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert metadata["classes"].startswith("road, sidewalk, building")
    assert metadata["colors"].startswith("#804080 #f423e8")
    assert metadata["input"].startswith("(N, 3, H, W) float32, normalised; mean (0.28")
    assert (metadata["licence"], graph.producer_name) == ("MIT", "dseg")
    assert card == dseg.load_model(weights=BUNDLED).card
    assert (facts.sha256, facts.size, facts.precision) == (sha256(BUNDLED), None, "fp32")
    assert [value.name for value in (*graph.graph.input, *graph.graph.output)] == [
        *("image", "logits")
    ]


def test_the_file_is_run_by_onnx_runtime_alone(made) -> None:
    session = onnxruntime.InferenceSession(str(made[0]))
    [logits] = session.run(None, {"image": np.zeros((1, 3, 96, 160), np.float32)})
    assert (logits.shape[:2], logits.dtype) == ((1, 19), np.float32)


def test_pixels_in_and_labels_out(labelling, folder) -> None:
    target, result = labelling
    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession(str(target))
    image = pixels("img/a.png")[None]
    [labels] = session.run(None, {"image": image})
    assert (labels.shape, labels.dtype) == ((1, *IMAGE), np.uint8)
    assert (labels[0] == pixels("torch/train_ids/a.png")).mean() > 0.999


# Read like a checkpoint


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_infer_reads_an_exported_file(made, folder, runtime) -> None:
    result = run(
        "infer", "img", "-w", made[0], "--runtime", runtime, "-o", "out", "--save", "train_ids"
    )
    assert result.exit_code == 0, result.output
    assert agreement("out") > 0.999


def test_the_predictor_loads_exported_files(made, labelling, folder) -> None:
    image = dseg.read_image("img/a.png")
    expected = dseg.Predictor.load(weights=BUNDLED, device="cpu")(image)
    for file in (made[0], labelling[0]):
        predictor = dseg.Predictor.load("DABNet", file)
        assert predictor.runtime.name == "openvino"
        assert (predictor(image).train_ids == expected).mean() > 0.999
    with pytest.raises(DsegError, match=r"any\.onnx is an exported dabnet, not fastscnn"):
        dseg.Predictor.load("fastscnn", made[0])


def test_infer_reads_openvino_ir(openvino_file, folder) -> None:
    assert openvino_file.with_suffix(".bin").is_file()
    result = run("infer", "img", "-w", openvino_file, "--runtime", "auto", "--save", "train_ids")
    assert "on cpu (OpenVINO, float32)" in result.stderr
    assert agreement("dseg-out") > 0.999
    assert json.loads(Path("dseg-out/dseg-run.json").read_text())["network"] == "dabnet"


def test_a_file_of_labels_gives_masks_at_any_size_of_image(labelling, folder) -> None:
    save_noise("img/b.png", 40, 50)
    result = run(
        *("infer", "img", "-w", labelling[0], "--runtime", "auto", "--save", "train_ids,color")
    )
    assert result.exit_code == 0, result.output
    assert "input 64x96" in result.stderr
    assert agreement("dseg-out") > 0.999
    assert pixels("dseg-out/train_ids/b.png").shape == (40, 50)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("infer", "--save", "confidence"), "gives labels, which have no confidence"),
        (("infer", "--tile", "32x32"), "cannot be fused over scales, flips or tiles"),
        (("multiscale-infer",), "cannot be fused over scales, flips or tiles"),
        (("infer", "--runtime", "torch"), "PyTorch does not read labels.onnx"),
        (("infer", "--model", "bisenetv2"), "labels.onnx is an exported dabnet, not bisenetv2"),
        (("infer", "--precision", "int8"), "labels.onnx is not quantised"),
        (("infer", "--device", "cuda"), "This machine has no device 'cuda'"),
    ],
)
def test_what_a_file_of_labels_cannot_do_is_refused(labelling, folder, words, problem) -> None:
    if torch.cuda.is_available() and "cuda" in words:
        pytest.skip("the error is another one with a GPU")
    command, *options = words
    result = run(command, "img", "-w", labelling[0], "--runtime", "auto", *options)
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
    assert not Path("dseg-out").exists()


def test_another_input_size_than_the_only_one_is_refused(labelling, folder) -> None:
    result = run("infer", "img", "-w", labelling[0], "--runtime", "auto", "--input-size", "32x32")
    assert result.exit_code == 1
    assert "reads inputs of 64x96 only, not of 32x32" in result.stderr


def test_inspect_describes_an_exported_file(made, openvino_file) -> None:
    for file, name in ((made[0], "ONNX"), (openvino_file, "OpenVINO IR")):
        result = run("inspect", file, "--json", "-")
        facts = json.loads(result.stdout)
        assert (facts["format"], facts["network"]) == (name, "dabnet")
        assert facts["graph"]["sha256"] == sha256(BUNDLED)
        assert facts["classes"][:2] == ["road", "sidewalk"]
        assert "network: dabnet" in run("inspect", file).stdout
        weights = file.with_suffix(".bin") if file.suffix == ".xml" else file
        assert facts["bytes"] >= weights.stat().st_size
        assert facts["beside"] == facts["beside it"] == [weights.name] * (file.suffix == ".xml")


# Faults


def test_files_that_dseg_did_not_write_are_refused(tmp_path) -> None:
    broken, foreign = tmp_path / "broken.onnx", tmp_path / "foreign.onnx"
    broken.write_bytes(b"\x08\x07" + bytes(90))
    value = helper.make_tensor_value_info("x", 1, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [
        helper.make_tensor_value_info("y", 1, [1])
    ])  # fmt: skip
    onnx.save(helper.make_model(graph), foreign)
    page = tmp_path / "page.xml"
    page.write_text("<html></html>")
    for file, problem in (
        (broken, "broken.onnx cannot be read"),
        (foreign, "foreign.onnx was not written by dseg export"),
        (page, "page.xml cannot be read"),
        (tmp_path / "none.onnx", "none.onnx does not exist"),
    ):
        refused(run("inspect", file), 3, problem)


def test_a_bin_of_another_file_is_refused(openvino_file) -> None:
    beside = openvino_file.with_suffix(".bin")
    weights = bytearray(beside.read_bytes())
    weights[len(weights) // 2] ^= 1  # OpenVINO itself looks at the length only
    beside.write_bytes(weights)
    refused(run("inspect", openvino_file), 3, "the .bin beside it is damaged, or that of another")


def test_damaged_facts_are_refused(made, tmp_path) -> None:
    graph = onnx.load(made[0])
    for key, value in (
        ("dseg_graph", '{"input": "text"}'),
        ("dseg_graph", '{"size": [1, 2, 3]}'),
        ("dseg_graph", '{"size": [0, 64]}'),
        ("dseg_graph", '{"multiple": "x"}'),
        ("dseg_graph", '{"remainder": 1}'),
        ("dseg_graph", '{"multiple": 8, "remainder": "x"}'),
        ("dseg_graph", "[]"),
        ("dseg", '{"format": 1}'),
    ):
        [entry] = [entry for entry in graph.metadata_props if entry.key == key]
        before, entry.value = entry.value, value
        damaged = tmp_path / "damaged.onnx"
        onnx.save(graph, damaged)
        entry.value = before
        result = run("inspect", damaged)
        assert result.exit_code == 3, result.output
        assert "damaged" in result.stderr


def test_a_file_with_other_labels_ends_with_code_4(made, tmp_path, monkeypatch) -> None:
    graph = onnx.load(made[0])
    weights = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    noise = np.random.default_rng(0).standard_normal(len(weights.raw_data) // 4)
    weights.raw_data = noise.astype(np.float32).tobytes()
    monkeypatch.setattr(writing, "trace", lambda *names, **options: graph)
    result = run("export", BUNDLED, "-o", tmp_path / "other.onnx")
    assert result.exit_code == 4, result.output
    assert "of labels are equal, fewer than 99.9%" in result.stderr


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"precision": "int8"}, "int8 needs images to calibrate on"),
        ({"format": "torch", "precision": "fp16"}, "The torch format is not written in fp16"),
        ({"size": (0, 5)}, "An image of 0x5 has no pixels"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given, problem) -> None:
    with pytest.raises(DsegError, match=problem):
        ExportConfig(**given)


def test_dimensions_of_any_size_have_names(made) -> None:
    graph = onnx.load(made[0]).graph
    given = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    found = [dim.dim_param or dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim]
    assert given == ["batch", 3, "height", "width"]
    assert found[:2] == ["batch", 19]
    assert "height" in found[2] and "width" in found[3]


def test_a_file_of_labels_keeps_the_remainder_of_the_padding(made, tmp_path) -> None:
    model = dseg.load_model(weights=BUNDLED)
    facts = GraphFacts(output="labels", multiple=8, remainder=1)
    graph = onnx.load(made[0])
    add_facts(graph, model.card, facts)
    file = tmp_path / "odd.onnx"
    file.write_bytes(graph.SerializeToString())
    network, _, _ = open_exported(file, device=torch.device("cpu"))
    protocol = network.card.protocol
    assert (protocol.pad_multiple, protocol.pad_remainder) == (8, 1)


def test_the_suffix_has_to_be_the_formats() -> None:
    assert ExportConfig().target(Path("a/net.pth")) == Path("net.onnx")
    assert ExportConfig(precision="fp16").target(Path("net.pth")) == Path("net-fp16.onnx")
    with pytest.raises(DsegError, match=r"net\.onnx does not end with \.xml"):
        ExportConfig(format="openvino", out=Path("net.onnx")).target(Path("net.pth"))
    for nameless in (".", "..", "a/..", ".onnx"):
        with pytest.raises(DsegError, match="has no name before its suffix"):
            ExportConfig(out=Path(nameless)).target(Path("net.pth"))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("-o", "file/net.onnx"), "file/net.onnx cannot be written"),
        (("-o", "folder.onnx"), "folder.onnx cannot be written: Is a directory"),
        (("--json", "file/facts.json"), "file/facts.json cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    tmp_path, monkeypatch, words, problem
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writing, "trace", lambda *names, **options: pytest.fail("it was traced"))
    Path("file").touch()
    Path("folder.onnx").mkdir()
    refused(run("export", BUNDLED, *words), 1, problem)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.onnx"]


def test_without_a_runtime_for_the_check_nothing_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(verifying, "is_installed", lambda *names: False)
    target = tmp_path / "net.onnx"
    refused(run("export", BUNDLED, "-o", target), 2, "No installed runtime reads the file")
    assert not target.exists()


def test_a_size_that_the_network_pads_is_refused() -> None:
    config = ExportConfig(size=(8, 96))
    model = dseg.load_model(weights=BUNDLED)
    with pytest.raises(DsegError, match="dabnet pads images of 8x96") as caught:
        writing.export(model, BUNDLED, config, Path("unused.onnx"))
    assert "--size 16x96, or --output labels" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--format", "torch"), "a.pt2"),
        (("--format", "torch", "--input", "uint8", "--output", "labels"), "b.pt2"),
        (("--precision", "fp16"), "c.onnx"),
        (("--format", "openvino", "--precision", "fp16", "--size", "64x96"), "d.xml"),
        (("--input", "uint8", "--output", "labels"), "e.onnx"),
    ],
)
def test_other_formats_are_verified(tmp_path, words, name) -> None:
    result = run("export", BUNDLED, "-o", tmp_path / name, *words)
    assert result.exit_code == 0, result.output
    assert "equal labels" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("size", ["97x129", "15x130"])
@pytest.mark.parametrize("name", ["pspnet_r50", "bisenetv1_coco"])
def test_networks_with_void_outputs_or_their_own_padding_give_labels(tmp_path, name, size) -> None:
    torch.manual_seed(0)
    file = tmp_path / "net.safetensors"
    dseg.save_model(dseg.build_model(name), file)
    words = ("--size", size, "--input", "uint8", "--output", "labels")
    result = run("export", file, "-o", tmp_path / "net.onnx", *words)
    assert result.exit_code == 0, result.output


# int8


def test_int8_is_calibrated_on_a_folder_of_images(made, folder, monkeypatch) -> None:
    graph = onnx.load(made[0])
    monkeypatch.setattr(writing, "trace", lambda *names, **options: graph)
    words = ("--precision", "int8", "--img-dir", "img", "--count", 9, "--no-check")
    result = run("export", BUNDLED, "-o", "small.onnx", *words)
    assert result.exit_code == 0, result.output
    kinds = {node.op_type for node in onnx.load("small.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert Path("small.onnx").stat().st_size < made[0].stat().st_size / 2
    _, _, facts = read_graph(Path("small.onnx"))
    assert facts.calibration == "mse, images: 1, float layers: input"
    assert "Images for calibration: only 1;" in result.stderr
    found = run("infer", "img", "-w", "small.onnx", "--runtime", "auto", "--save", "train_ids")
    assert "on cpu (OpenVINO, int8)" in found.stderr
    assert agreement("dseg-out") > 0.8  # of noise


def test_an_unknown_layer_is_refused_before_the_calibration(made, folder, monkeypatch) -> None:
    graph = onnx.load(made[0])
    monkeypatch.setattr(writing, "trace", lambda *names, **options: graph)
    words = ("--precision", "int8", "--img-dir", "img", "--keep-float", "no_such_layer")
    result = run("export", BUNDLED, "-o", "small.onnx", *words)
    assert result.exit_code == 2
    assert "The graph has no layer 'no_such_layer'" in result.stderr
    assert "Calibrating" not in result.stderr


def test_precisions_are_compared_on_a_data_set(made, folder, monkeypatch) -> None:
    graph = onnx.load(made[0])
    monkeypatch.setattr(comparing, "trace", lambda *names, **options: graph)
    make_camvid(folder)
    result = run(
        *("export", BUNDLED, "--compare", "--calibration", "all", "--img-dir", "img"),
        *("--dataset", "camvid", "--data-dir", folder, "--label-space", "cityscapes"),
        *("--json", "-"),
    )
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    rows = [(row["runtime"], row["precision"], row["calibration"]) for row in facts["rows"]]
    assert [row for row in rows if row[1] != "bf16"] == [
        ("PyTorch", "fp32", ""),
        ("OpenVINO", "fp32", ""),
        ("OpenVINO", "fp16", ""),
        *(("OpenVINO", "int8", method) for method in ("minmax", "percentile", "entropy", "mse")),
    ]
    first, second = facts["rows"][:2]
    assert (first["agreement"], first["mean_iou"]) == (1.0, second["mean_iou"])
    assert second["agreement"] > 0.999
    assert all(0 <= row["mean_iou"] <= 1 and row["milliseconds"] > 0 for row in facts["rows"])
    assert facts["rows"][-1]["megabytes"] < facts["rows"][1]["megabytes"] / 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--img-dir", "img"), "No data set is named to compare on"),
        (
            ("--img-dir", "img", "--dataset", "camvid", "--data-dir", "."),
            "has the 19 classes",
        ),
        (
            ("--dataset", "camvid", "--data-dir", "."),
            "--compare needs images to calibrate on",
        ),
        (("-o", "net.onnx"), "--compare writes no file: --out has no effect"),
        (("--precision", "int8"), "--compare writes no file: --precision has no effect"),
        (("--no-check",), "--compare writes no file: --no-check has no effect"),
    ],
)
def test_what_cannot_be_compared_is_refused(folder, words, problem) -> None:
    make_camvid(folder)
    result = run("export", BUNDLED, "--compare", *words)
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
