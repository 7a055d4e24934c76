"""Times that ``dseg bench`` measured on this machine, in ``dseg models``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_runs import run

from dseg import speeds
from dseg.speeds import Speed, keep_speed, read_speeds

BENCH = ("bench", "--model", "espnet_c", "--size", "64x64", "--seconds", "0.01", "--samples", "3")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("DSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(speeds, "processor_name", lambda: "ACME (R) Chip 9")
    return tmp_path / "speeds"


def make_speed(ms: float, precision: str = "fp32", device: str = "ACME (R) Chip 9") -> Speed:
    return Speed(ms=ms, runtime="torch", precision=precision, device=device)


def rows() -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads(run("models", "--json").stdout)}


def test_the_fastest_variant_is_kept_and_measured_anew(cache: Path) -> None:
    keep_speed("dabnet", make_speed(20.0), on_gpu=False)
    keep_speed("dabnet", make_speed(30.0, "bf16"), on_gpu=False)
    assert read_speeds() == {"dabnet": make_speed(20.0)}
    keep_speed("dabnet", make_speed(10.0, "bf16"), on_gpu=False)
    keep_speed("dabnet", make_speed(12.0, "bf16"), on_gpu=False)  # measured again
    assert read_speeds() == {"dabnet": make_speed(12.0, "bf16")}
    (file,) = cache.iterdir()
    assert file.name.startswith("acme-r-chip-9-")


def test_times_of_a_gpu_come_before_those_of_the_processor() -> None:
    keep_speed("dabnet", make_speed(20.0), on_gpu=False)
    keep_speed("dabnet", make_speed(2.0, device="GPU 1"), on_gpu=True)
    assert read_speeds()["dabnet"].device == "GPU 1"


def test_other_machines_and_damaged_files_are_ignored(cache: Path, monkeypatch) -> None:
    keep_speed("dabnet", make_speed(20.0), on_gpu=False)
    next(cache.iterdir()).write_text('{"dabnet": {"ms": "fast"}}')
    assert read_speeds() == {}
    keep_speed("dabnet", make_speed(20.0), on_gpu=False)
    monkeypatch.setattr(speeds, "processor_name", lambda: "another")
    assert read_speeds() == {}


def test_models_shows_and_sorts_what_was_measured_here() -> None:
    text = run("models", "dabnet").stdout
    assert re.search(r"ms at 1024x2048 here +not measured: dseg bench --model dabnet", text)
    assert rows()["dabnet"]["ms_here"] is None
    keep_speed("espnet", make_speed(31.4159), on_gpu=False)
    keep_speed("dabnet", make_speed(40.0), on_gpu=False)
    lines = run("models", "--sort", "ms").stdout.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("espnet "))
    assert " 31 " in lines[first]
    assert lines[first + 1].startswith("dabnet ")
    assert "ACME (R) Chip 9" in lines[-1]
    found = rows()["espnet"]
    assert found["ms_here"] == 31.416
    assert found["ms_here_conditions"] == {
        "ms": 31.4159, "runtime": "torch", "precision": "fp32", "device": "ACME (R) Chip 9",
    }  # fmt: skip


@pytest.mark.parametrize(("size", "kept"), [((64, 64), True), ((1024, 2048), False)])
def test_bench_keeps_the_time_at_the_listed_size(size, kept: bool, monkeypatch) -> None:
    monkeypatch.setattr("dseg.bench.report.SIZE", size)
    result = run(
        *BENCH, "--warmup", "1", "--runtime", "torch", "--measure", "labels", "--json", "-"
    )
    (network,) = json.loads(result.stdout)["networks"]
    found = read_speeds()
    assert list(found) == (["espnet_c"] if kept else [])
    if kept:
        assert found["espnet_c"].ms == network["labels"]["median_ms"]
