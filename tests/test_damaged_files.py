"""Damaged JSON files and states of dseg: one error, never a stack trace."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import NAME, card_of
from checkpoint_files import refused as refused_file
from cli_runs import refused, run
from click.testing import Result
from safetensors.torch import save_file
from tiny_data import make_camvid

from dseg.checkpoints import read_checkpoint, save_model
from dseg.jsonio import parse_object, read_object
from dseg.models import build_model
from dseg.training.metrics import MetricsFile

DAMAGED = {
    "lists": (b"[" * 100_000, "it is nested more than 64 levels deep"),
    "objects": (b'{"a":' * 100_000, "it is nested more than 64 levels deep"),
    "closed": (b"[" * 5000 + b"]" * 5000, "it is nested more than 64 levels deep"),
    "valid": (b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}", "it is nested more than 64 levels deep"),
    "nan": (b'{"a": NaN}', "expected a finite number, found NaN"),
    "infinity": (b'{"a": -Infinity}', "expected a finite number, found -Infinity"),
    "overflow": (b'{"a": 1e999}', "expected a finite number, found '1e999'"),
    "huge": (b'{"a": ' + b"9" * 5000 + b"}", "an integer has 5000 digits"),
    "large": (b'{"a": 123456789012345678901}', "an integer has 21 digits"),
    "null": (b"null", "expected an object, found None"),
    "list": (b"[1]", "expected an object, found a list"),
    "text": (b'"a"', "expected an object, found 'a'"),
    "twice": (b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
    "binary": (b"\x80\x02}q\x00", "it is not UTF-8 text (byte 0)"),
    "nul": (
        b'{"a": "\x00"}',
        "it is not valid JSON (line 1, column 8: Invalid control character at)",
    ),
    "empty": (b"", "it is empty"),
    "blank": (b" \n", "it is empty"),
    "cut": (b'{"a": [1, 2', "it is not valid JSON (line 1, column 12: "),
    "quotes": (
        b'{"' + b'\\"' * 100_000,
        "it is not valid JSON (line 1, column 2: Unterminated string",
    ),
}
CASES = pytest.mark.parametrize(("data", "problem"), DAMAGED.values(), ids=DAMAGED)


@CASES
def test_what_is_wrong_with_a_text_is_reported(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError) as fault:
        parse_object(data)
    assert problem in str(fault.value)
    assert len(str(fault.value)) < 120


def test_brackets_within_texts_are_not_nesting_and_64_levels_are_read() -> None:
    assert parse_object(json.dumps({"a\\": '\\"' + "[{" * 100})) == {"a\\": '\\"' + "[{" * 100}
    deep = '{"a": ' + "[" * 63 + "]" * 63 + "}"
    assert list(parse_object(deep)) == ["a"]
    assert parse_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_a_pipe_and_a_folder_are_not_regular_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a regular file"):
        read_object(tmp_path)


# Cards


def write_card(file: Path, change: dict[str, Any], text: str = "") -> None:
    save_model(build_model(NAME, 2), file)
    text = text or json.dumps({**card_of(file), **change})
    save_file({"a": torch.ones(1)}, file, {"dseg": text})


@pytest.mark.parametrize("case", [name for name in DAMAGED if name != "binary"])
def test_a_damaged_card_is_reported(case: str, tmp_path: Path) -> None:
    data, problem = DAMAGED[case]
    file = tmp_path / "own.safetensors"
    save_file({"a": torch.ones(1)}, file, {"dseg": data.decode()})
    fault = refused_file(lambda: read_checkpoint(file))
    assert fault.problem.startswith(f"{file} has damaged metadata: ")
    assert problem in fault.problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "1"}, "format '1' of network 'mobilenetdenseaspp'"),
        ({"format": True}, "format True of network"),
        ({"format": -1}, "format -1 of network"),
        ({"network": None}, "of network None"),
        ({"mean": ["0.5", "0.5", "0.5"]}, "['0.5', '0.5', '0.5'] instead of three numbers"),
        ({"mean": None}, "None instead of three numbers"),
        ({"mean": [10**18] * 300}, "a list instead of three numbers"),
        ({"std": [True, True, True]}, "instead of three numbers"),
        ({"classes": "ab"}, "classes are 'ab'"),
        ({"classes": [1, 2]}, "a class is named 1"),
        ({"classes": ["a", "\ud800"]}, "a class is named '\\ud800'"),
        ({"classes": ["a", "b\x1b[31m"]}, "a class is named 'b\\x1b[31m'"),
        ({"label_space": None}, "a label space is named None"),
        ({"colors": "abcdef"}, "colors are 'abcdef'"),
        ({"colors": [["1", "2", "3"], [1, 2, 3]]}, "'1' instead of a number from 0 to 255"),
        ({"label_ids": [True, 1]}, "True instead of a number from 0 to 255"),
        ({"label_ids": {"0": 1}}, "label ids are an object"),
        ({"outputs": "01"}, "outputs are '01'"),
        ({"order": ["RGB"]}, "unknown channel order a list"),
        ({"kwargs": None}, "the arguments of mobilenetdenseaspp are None"),
        ({"kwargs": {"output_stride": [[1]]}}, "output_stride of mobilenetdenseaspp cannot be"),
        ({"kwargs": {"output_stride": {}}}, "output_stride of mobilenetdenseaspp cannot be"),
        ({"protocol": [1]}, "protocol is a list"),
        ({"authors": "x" * 1000}, "protocol is 'xxx"),
        ({"scores": None}, "scores is None"),
        ({"scores": {"miou": "61"}}, "the score 'miou' is '61'"),
        ({"scores": {"miou": [1]}}, "the score 'miou' is a list"),
    ],
    ids=str,
)
def test_a_card_with_a_wrong_value_is_reported(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.safetensors"
    write_card(file, change)
    fault = refused_file(lambda: read_checkpoint(file))
    assert "has damaged metadata: " in fault.problem and problem in fault.problem
    assert len(fault.problem) < 250


def test_a_card_without_a_part_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    write_card(file, {})
    data = card_of(file)
    del data["mean"]
    write_card(file, {}, json.dumps(data))
    assert (
        "damaged metadata: 'mean' is missing."
        in refused_file(lambda: read_checkpoint(file)).problem
    )


# The record of results


@CASES
def test_a_damaged_record_is_reported(
    infer: Callable[..., Result], data: bytes, problem: str
) -> None:
    Path("dseg-out").mkdir()
    Path("dseg-out/dseg-run.json").write_bytes(data)
    refusal = f"dseg-out holds results of another run (dseg-run.json is damaged: {problem}"
    refused(
        infer("img"),
        2,
        refusal.partition("...")[0] if "Unterm" in refusal else refusal,
        "--overwrite",
    )
    assert Path("dseg-out/dseg-run.json").read_bytes() == data


def test_a_record_with_wrong_values_is_reported_briefly(infer: Callable[..., Result]) -> None:
    infer("img")
    record = Path("dseg-out/dseg-run.json")
    facts = json.loads(record.read_text())
    for value, shown in (("x" * 10**6, "'xxx"), ([1] * 10**6, "a list"), (None, "None")):
        record.write_text(json.dumps({**facts, "mean": value}))
        result = infer("img")
        refused(result, 2, f"(mean: {shown}", "--overwrite")
        assert len(result.stderr) < 400
    record.write_text("[" * 100_000)
    assert infer("img", "--overwrite").exit_code == 0
    assert json.loads(record.read_text()) == facts


# A run's folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("damaged")
    data = make_camvid(place / "data", train=4, val=1)
    result = run(
        *("train", "--model", "DABNet", "--dataset", "camvid", "--data-dir", data),
        *("--out", place / "run", "--device", "cpu", "-j", 0, "--batch-size", 2, "--draw", 0),
        *("--set", "crop=32x48", "--set", "steps=2", "--set", "optimizer=adam"),
        *("--set", "ema=0.9", "--save-every", 0),
    )
    assert result.exit_code == 0, result.stderr
    return place


@pytest.fixture
def place(begun: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, which uses the data of the original."""
    shutil.copytree(begun / "run", tmp_path / "run")
    return tmp_path


def resume(place: Path) -> Result:
    return run("train", "--resume", "--out", place / "run")


@CASES
def test_a_damaged_run_file_is_reported(place: Path, data: bytes, problem: str) -> None:
    (place / "run/run.json").write_bytes(data)
    refused(resume(place), 2, "run.json cannot be read: ", "another --out")
    assert problem in resume(place).stderr


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        ("settings", {"seed": "5"}, "seed cannot be '5'"),
        ("settings", {"seed": -1}, "seed cannot be -1"),
        ("settings", {"seed": 2.5}, "seed cannot be 2.5"),
        ("settings", {"seed": True}, "seed cannot be True"),
        ("settings", {"model": "nonesuch"}, "nonesuch"),
        ("settings", {"model": None}, "model cannot be None"),
        ("settings", {"datasets": "camvid"}, "datasets cannot be 'camvid'"),
        ("settings", {"datasets": []}, "datasets cannot be an empty list"),
        ("settings", {"datasets": [["camvid"]]}, "datasets cannot be a list"),
        ("settings", {"datasets": [["camvid", 3]]}, "datasets cannot be 3"),
        ("settings", {"deterministic": "false"}, "deterministic cannot be 'false'"),
        ("settings", {"amp": "fp8"}, "amp cannot be 'fp8'"),
        ("settings", {"world_size": 0}, "world_size cannot be 0"),
        ("settings", {"unheard": 1}, "settings has an unknown field 'unheard'"),
        ("settings", {"recipe": None}, "the recipe is None, not an object"),
        ("recipe", {"lr": "0.1"}, "lr cannot be '0.1'"),
        ("recipe", {"lr": -1}, "lr=-1 is out of range"),
        ("recipe", {"batch": 2.5}, "batch cannot be 2.5"),
        ("recipe", {"batch": 10**18}, "batch=1e+18 is out of range"),
        ("recipe", {"crop": [32]}, "crop cannot be a list"),
        ("recipe", {"crop": [32, "48"]}, "crop cannot be '48'"),
        ("recipe", {"optimizer": "lion"}, "optimizer cannot be 'lion'"),
        ("recipe", {"unheard": 1}, "the recipe has an unknown field 'unheard'"),
        ("conditions", {"log_every": 0}, "log_every cannot be 0"),
        ("conditions", {"log_every": "1"}, "log_every cannot be '1'"),
        ("conditions", {"workers": -1}, "workers cannot be -1"),
        ("conditions", {"cache": "tape"}, "Unknown cache 'tape'"),
        ("conditions", {"save_every": -1}, "Saving every -1 seconds is not possible"),
        ("conditions", {"device": 0}, "device cannot be 0"),
    ],
)
def test_a_run_file_with_a_wrong_value_is_reported(
    place: Path, part: str, change: dict[str, Any], problem: str
) -> None:
    file = place / "run/run.json"
    facts = json.loads(file.read_text())
    (facts["settings"]["recipe"] if part == "recipe" else facts[part]).update(change)
    file.write_text(json.dumps(facts))
    refused(resume(place), 2, f"{file} cannot be read: ", "another --out")
    assert problem in resume(place).stderr


@pytest.mark.parametrize("data", [data for data, _ in DAMAGED.values()], ids=DAMAGED)
def test_a_damaged_row_is_left_out(tmp_path: Path, data: bytes) -> None:
    good = b'{"kind": "train", "step": 1, "epoch": 0.5, "loss": 2.0}\n'
    (tmp_path / "m.jsonl").write_bytes(data + b"\n" + good)
    assert [row["loss"] for row in MetricsFile(tmp_path / "m.jsonl").read()] == [2.0]


@pytest.mark.parametrize(
    "change",
    [
        *({"step": value} for value in (-1, True, 1.5, "1", None, 10**18 * 10)),
        *({"kind": value} for value in (None, [], "other")),
        *({name: "1"} for name in ("loss", "epoch", "lr")),
        {"loss": [1]},
        {"kind": "val", "miou": "x"},
        {"kind": "val", "class_iou": 3},
        {"kind": "val", "class_iou": {"road": "x"}},
    ],
    ids=str,
)
def test_a_row_with_a_wrong_value_is_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    row = {"kind": "train", "step": 1, "epoch": 0.5, "loss": 2.0, "lr": 0.1}
    (tmp_path / "m.jsonl").write_text(json.dumps({**row, **change}) + "\n" + json.dumps(row))
    assert MetricsFile(tmp_path / "m.jsonl").read() == [row]


# The state

DEEP: list[Any] = []
for _ in range(50):
    DEEP = [DEEP]


def first_of(state: dict[str, Any]) -> Any:
    return next(value for value in state["trainer"]["model"].values() if value.ndim == 4)


def first_moments(state: dict[str, Any]) -> dict[str, Any]:
    moments: dict[str, Any] = state["trainer"]["optimizer"]["state"][0]
    return moments


STATES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "step -3": (lambda s: s["trainer"].update(step=-3), "its step is -3"),
    "step text": (lambda s: s["trainer"].update(step="2"), "its step is '2'"),
    "step float": (lambda s: s["trainer"].update(step=2.0), "its step is 2.0"),
    "step bool": (lambda s: s["trainer"].update(step=True), "its step is True"),
    "step huge": (lambda s: s["trainer"].update(step=10**400), "its step is 1000"),
    "step deep": (lambda s: s["trainer"].update(step=DEEP), "its step is a list"),
    "step beyond": (lambda s: s["trainer"].update(step=9), "its step is 9, the run has 2"),
    "no step": (lambda s: s["trainer"].pop("step"), "it has no step"),
    "validated": (lambda s: s["trainer"].update(validated_at=7), "validated at step 7, of 2"),
    "best nan": (lambda s: s["trainer"].update(best=math.nan), "best mean IoU is nan"),
    "best text": (lambda s: s["trainer"].update(best="0.5"), "best mean IoU is '0.5'"),
    "best 2": (lambda s: s["trainer"].update(best=2.0), "best mean IoU is 2.0"),
    "losses": (lambda s: s["trainer"].update(losses=[math.inf]), "its losses are a list"),
    "losses none": (lambda s: s["trainer"].update(losses=None), "its losses are None"),
    "scaler": (lambda s: s["trainer"].update(scaler={"scale": "x"}), "scale of its loss"),
    "scaler 0": (lambda s: s["trainer"].update(scaler={"scale": 0.0}), "scale of its loss is 0.0"),
    "model none": (lambda s: s["trainer"].update(model=None), "it lacks weights"),
    "model text": (lambda s: s["trainer"]["model"].update(a="b"), "its model has 'b' as 'a'"),
    "model nan": (lambda s: first_of(s).fill_(math.nan), "its model has NaN or infinity in"),
    "model less": (lambda s: s["trainer"]["model"].popitem(), "Error(s) in loading state_dict"),
    "model type": (
        lambda s: s["trainer"]["model"].update({k: v.double() for k, v in weights(s)}),
        "torch.float64, the network's torch.float32",
    ),
    "mean none": (lambda s: s["trainer"].update(mean=None), "it lacks weights"),
    "optimizer": (lambda s: s["trainer"].update(optimizer=3), "its optimizer has no state"),
    "no moments": (lambda s: s["trainer"]["optimizer"].update(state={}), "has no moments"),
    "decay": (
        lambda s: s["trainer"]["optimizer"]["param_groups"][0].update(weight_decay="x"),
        "its optimizer has weight_decay 'x', the recipe ",
    ),
    "betas": (
        lambda s: s["trainer"]["optimizer"]["param_groups"][0].update(betas=(5.0, 0.9)),
        "its optimizer has betas a list, the recipe a list",
    ),
    "groups": (lambda s: s["trainer"]["optimizer"].update(param_groups=[]), "not fit this network"),
    "moments": (
        lambda s: first_moments(s).update(exp_avg=torch.zeros(1, 2)),
        "its optimizer's exp_avg does not fit the network's parameters",
    ),
    "moments nan": (
        lambda s: first_moments(s)["exp_avg"].fill_(math.nan),
        "its optimizer's exp_avg has NaN, infinite or negative values",
    ),
    "moments text": (lambda s: first_moments(s).update(exp_avg="x"), "exp_avg does not fit"),
    "opponents": (lambda s: s["trainer"].update(opponents=[torch.ones(1)]), "parameters of the"),
    "data": (lambda s: s.update(data="x"), "no fingerprint of its data"),
    "no data": (lambda s: s.pop("data"), "no fingerprint of its data"),
    "trainer": (lambda s: s.update(trainer=[1]), "it contains no state of a trainer"),
}


def weights(state: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in state["trainer"]["model"].items() if v.is_floating_point()]


@pytest.mark.parametrize(("damage", "problem"), STATES.values(), ids=STATES)
def test_a_damaged_state_is_reported(
    place: Path, damage: Callable[[dict[str, Any]], object], problem: str
) -> None:
    file = place / "run/state.pt"
    state = torch.load(file, weights_only=True)
    damage(state)
    torch.save(state, file)
    before = (place / "run/metrics.jsonl").read_bytes()
    result = resume(place)
    error, hint = result.stderr.splitlines()[-2:]
    assert result.exit_code == 3, result.stderr
    assert error.startswith(f"Error: {file} does not fit this network: ") and problem in error
    assert hint.startswith("Hint: ") and "another --out" in hint
    assert (place / "run/metrics.jsonl").read_bytes() == before
    assert len(error) < 400


def test_a_run_continues_from_an_undamaged_state(place: Path) -> None:
    assert resume(place).stderr.splitlines()[0] == "Nothing left to do."
