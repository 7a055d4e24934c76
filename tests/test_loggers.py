"""Logs for Weights & Biases and MLflow, with stand-ins for the packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cli_runs import refused, run
from tiny_data import make_camvid

TRAIN = (
    *("train", "--out", "run", "--batch-size", 2, "--set", "crop=32x48", "--set", "steps=2"),
    *("--model", "DABNet", "--recipe", "dabnet_cityscapes"),
    *("--dataset", "camvid", "--data-dir", "camvid"),
    *("--device", "cpu", "-j", 0, "--log-every", 1, "-q", "--draw", 0),
)


@pytest.fixture(autouse=True)
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    make_camvid(Path("camvid"), 4)


class Wandb(ModuleType):
    """Replaces wandb; its run collects what is logged."""

    def __init__(self, fault: Exception | None = None, at: str = ""):
        super().__init__("wandb")
        self.fault, self.at = fault, at
        self.begun: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.finished = 0

    def Settings(self, **options: Any) -> dict[str, Any]:  # noqa: N802
        return options

    def init(self, **options: Any) -> Any:
        self._fail("init")
        self.begun.append(options)

        def finish() -> None:
            self.finished += 1

        return SimpleNamespace(
            id=options["id"] or "abc123",
            log=self.log,
            define_metric=lambda *a, **k: 0,
            finish=finish,
        )

    def log(self, row: dict[str, Any]) -> None:
        self._fail("log")
        self.rows.append(row)

    def _fail(self, at: str) -> None:
        if self.fault is not None and self.at == at:
            raise self.fault


class Mlflow(ModuleType):
    """Replaces mlflow."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[Any, ...]] = []

    def set_tracking_uri(self, uri: str) -> None:
        self.calls.append(("uri", uri))

    def set_experiment(self, name: str) -> None:
        self.calls.append(("experiment", name))

    def start_run(self, run_id: str | None, run_name: str | None) -> Any:
        self.calls.append(("start", run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "f00"))

    def log_params(self, params: dict[str, str]) -> None:
        self.calls.append(("params", params))

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        self.calls.append(("metrics", step, values))

    def end_run(self) -> None:
        self.calls.append(("end",))


def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run/run.json").read_text())
    return found


def test_weights_and_biases_gets_all_rows_and_a_resumed_run_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert run(*TRAIN, "--wandb").exit_code == 0
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in wandb.rows] == [1, 2, 2]
    assert [row.get("train/loss") for row in wandb.rows] == [rows[0]["loss"], rows[1]["loss"], None]
    assert wandb.rows[2]["val/miou"] == rows[2]["miou"]
    assert wandb.rows[2]["val/loss"] == rows[2]["loss"] > 0
    (begun,) = wandb.begun
    assert (begun["project"], begun["name"], begun["id"], begun["dir"]) == (
        "dseg",
        "run",
        None,
        "run",
    )
    assert begun["config"]["recipe"]["batch"] == 2
    assert facts()["logs"] == {"wandb": "abc123"}
    assert run("train", "--out", "run", "--resume", "--set", "steps=3", "-q").exit_code == 0
    assert (wandb.begun[1]["id"], wandb.begun[1]["resume"]) == ("abc123", "allow")
    assert [row["step"] for row in wandb.rows[3:]] == [3, 3]
    assert wandb.finished == 2


def test_mlflow_gets_settings_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    assert run(*TRAIN, "--mlflow").exit_code == 0
    calls = {call[0]: call for call in mlflow.calls}
    assert calls["uri"][1] == f"sqlite:///{Path('run').resolve()}/mlflow.db"
    assert calls["experiment"] == ("experiment", "dseg")
    assert calls["start"] == ("start", None, "run")
    assert calls["params"][1]["recipe.batch"] == "2"
    assert [call[1] for call in mlflow.calls if call[0] == "metrics"] == [1, 2, 2]
    assert {"val/miou", "val/loss", "val/pixel_accuracy"} <= calls["metrics"][2].keys()
    assert mlflow.calls[-1] == ("end",)
    assert run("train", "--out", "run", "--resume", "--set", "steps=3", "-q").exit_code == 0
    assert ("start", "f00", None) in mlflow.calls


@pytest.mark.parametrize(("name", "title"), [("wandb", "Weights & Biases"), ("mlflow", "MLflow")])
def test_a_missing_package_is_reported_before_training(
    monkeypatch: pytest.MonkeyPatch, name: str, title: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    problem, hint = (
        f"{title} cannot be imported",
        f"pip install 'dseg[{name}]', or leave out --{name}",
    )
    refused(run(*TRAIN, f"--{name}"), 2, problem, hint)
    assert not Path("run").exists()


def test_a_log_that_cannot_start_ends_the_run_before_its_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Wandb(ValueError("No API key.\nSee x"), "init"))
    refused(
        run(*TRAIN, "--wandb"),
        1,
        "Weights & Biases cannot start a log: No API key.",
        "WANDB_MODE=offline",
    )
    assert not Path("run/run.json").exists()


def test_a_log_that_fails_later_does_not_stop_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb(ConnectionError("the server is gone"), "log")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    result = run(*TRAIN, "--wandb")
    assert result.exit_code == 0
    warnings = [line for line in result.stderr.splitlines() if "WARNING" in line]
    assert warnings == [
        "WARNING: Weights & Biases failed (the server is gone): its log ends here; metrics.jsonl "
        "is complete."
    ]
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 3
