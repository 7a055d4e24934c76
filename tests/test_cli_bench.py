"""``dseg bench`` as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import misused, refused, run, table_rows

from dseg.bench import report
from dseg.bench.runner import Runner
from dseg.checkpoints import find_bundled
from dseg.registry import MODELS

FEW = ("--size", "32x64", "--seconds", "0.01", "--warmup", "1", "--samples", "3", "--threads", "1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "measure_growth", lambda *_: 5 * 2**20)  # takes a process


def bench(*words: object) -> Any:
    return run("bench", "--device", "cpu", *FEW, *words)


def test_a_table_of_three_rows_and_what_they_mean() -> None:
    result = bench("--model", "DABNet")
    assert result.exit_code == 0
    assert result.stderr == "1/1 dabnet\n"
    for text in (
        *("device: cpu, ", "threads of the CPU: 1\n", "PyTorch fp32: float32\n", "versions: dseg "),
        *("norms folded", "32x64 (height x width), batch 1", "a fresh process"),
        *("forward: the network alone", "labels: ", "end to end: PNG decoded"),
    ):
        assert text in result.stdout
    rows = table_rows(result.stdout)
    assert rows[0][:3] == ["dabnet", "PyTorch fp32", "forward"]
    assert [row[0] for row in rows[1:]] == ["labels", "end to end"]
    assert rows[0][6:10] == ["0.76", "0.04", "0.08", "5"]
    assert all(row[-1] == "3" for row in rows)


def test_json_has_all_of_it_and_stdout_nothing_else() -> None:
    result = bench("--model", "dabnet", "--batch", 2, "--dtype", "bf16", "--json", "-", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    facts = json.loads(result.stdout)
    assert list(facts) == ["machine", "settings", "rows", "peak_memory", "networks"]
    assert facts["machine"]["threads"] == torch.get_num_threads() == 1
    assert facts["settings"]["size"] == [32, 64]
    assert facts["settings"]["batch"] == 2
    (network,) = facts["networks"]
    assert (network["runtime"], network["dtype"]) == ("torch", "bf16")
    assert network["precision"] == "bfloat16 by autocast"
    assert list(network) == [
        *("name", "runtime", "dtype", "precision"),
        *("params", "gmacs", "gflops", "peak_memory_mib"),
        *("forward", "labels", "end_to_end", "published_miou", "fault"),
    ]
    assert set(facts["rows"]) < set(network)
    assert network["forward"]["frames_per_s"] == pytest.approx(
        2000 / network["forward"]["median_ms"]
    )


def test_all_networks_are_measured_even_if_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = {name: MODELS[name] for name in ("mobilenetdenseaspp", "dabnet")}
    monkeypatch.setattr(sys.modules["dseg.cli.bench"], "MODELS", zoo)
    label = Runner.label

    def fail_once(self: Runner, *given: Any) -> Any:
        if self.model.card.network == "mobilenetdenseaspp":
            raise RuntimeError("not enough memory: you tried to allocate 9 bytes")
        return label(self, *given)

    monkeypatch.setattr(Runner, "label", fail_once)
    result = bench("--model", "all", "--json", "zoo.json", "--plot", "plots/zoo.png")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "1/2 mobilenetdenseaspp",
        "mobilenetdenseaspp failed: out of memory",
        "2/2 dabnet",
    ]
    assert "failed: out of memory" in result.stdout
    networks = json.loads(Path("zoo.json").read_text())["networks"]
    assert [network["name"] for network in networks] == list(zoo)
    assert [network["fault"] for network in networks] == ["out of memory", None]
    assert networks[0]["labels"] is None and networks[1]["end_to_end"] is not None
    assert Path("plots/zoo.png").read_bytes().startswith(b"\x89PNG")


def test_runtimes_and_precisions_are_measured_one_after_another() -> None:
    words = ("--runtime", "torch", "--runtime", "auto", "--runtime", "openvino")
    words += ("--precision", "fp32", "--measure", "labels", "--json", "two.json")
    result = bench("--model", "dabnet", *words)
    assert result.exit_code == 0
    measured = ["1/1 dabnet, PyTorch fp32", "1/1 dabnet, OpenVINO fp32"]
    assert result.stderr.splitlines() == measured
    assert [row[:3] for row in table_rows(result.stdout)] == [
        *(["dabnet", "PyTorch fp32", "labels"], ["dabnet", "OpenVINO fp32", "labels"])
    ]
    assert "end to end" not in result.stdout and "memory:" not in result.stdout
    facts = json.loads(Path("two.json").read_text())
    assert "openvino" in facts["machine"]["versions"]
    assert [network["runtime"] for network in facts["networks"]] == ["torch", "openvino"]
    assert [network["forward"] for network in facts["networks"]] == [None, None]


def test_a_benchmark_that_was_stopped_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--model", "dabnet", "--model", "mobilenetdenseaspp", "--json", "some.json")
    label = Runner.label

    def stop_at_the_second(self: Runner, *given: Any) -> Any:
        if self.model.card.network == "mobilenetdenseaspp":
            raise KeyboardInterrupt
        return label(self, *given)

    with monkeypatch.context() as context:
        context.setattr(Runner, "label", stop_at_the_second)
        assert bench(*words).exit_code == 130
    first = json.loads(Path("some.json").read_text())["networks"]
    assert [network["name"] for network in first] == ["dabnet"]
    result = bench(*words, "--resume")
    assert result.stderr == "2/2 mobilenetdenseaspp\n"
    both = json.loads(Path("some.json").read_text())["networks"]
    assert both[0] == first[0]
    assert [network["name"] for network in both] == ["dabnet", "mobilenetdenseaspp"]
    refused(bench(*words, "--resume", "--batch", 2), 2, "was measured with batch 1, not 2")
    words = ("--model", "dabnet", "--json", "some.json", "--resume")
    refused(bench(*words, "-w", find_bundled()), 2, "was measured with weights None, not")
    Path("some.json").write_text('{"networks": [{}]}')
    refused(bench(*words, "--resume"), 2, "no figures of dseg bench that can be continued")


def test_a_network_named_twice_is_measured_once() -> None:
    result = bench("--model", "dabnet", "--model", "DAB-Net", "--no-deploy")
    assert result.exit_code == 0
    assert result.stdout.count("\ndabnet") == 1
    assert "norms as trained" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("--dtype", "int8"), 2, "int8 cannot be measured"),
        (("--dtype", "fp16"), 2, "fp16 cannot be measured on the CPU"),
        (("--size", "0x64"), 2, "An image of 0x64 cannot be measured"),
        (("--device", "cuda:7"), 2, "no device 'cuda:7'"),
        (("--plot", "zoo.gif"), 2, "its suffix names no format"),
        (("--resume",), 2, "--resume has no file to continue"),
        (("--plot", "a.png", "--measure", "forward"), 2, "which --measure leaves out"),
        (("--model", "all", "-w", "a.pth"), 2, "One checkpoint, a.pth, is given for"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(
    words: tuple[str, ...], code: int, problem: str
) -> None:
    refused(bench("--model", "dabnet", *words), code, problem)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--samples", "0"), "--samples"),
        (("--seconds", "0"), "--seconds"),
        (("--batch", "0"), "--batch"),
        (("--size", "wide"), "is not a size like 1024x2048"),
        (("--model", "dabnot"), "Did you mean dabnet"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused(words: tuple[str, ...], problem: str) -> None:
    misused(bench("--model", "dabnet", *words), problem)


def test_a_network_has_to_be_named() -> None:
    misused(bench(), "Missing option '--model'")


def test_a_checkpoint_that_cannot_be_used_ends_the_command(checkpoint: Path) -> None:
    refused(bench("--model", "dabnet", "-q", "-w", checkpoint), 3, "does not fit dabnet")
    refused(bench("--model", "dabnet", "-q", "-w", "no.pth"), 3, "no.pth")
