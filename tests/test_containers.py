"""Files of trainers: containers, prefixes, averaged weights, and other values."""

from __future__ import annotations

import argparse
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import NAME, OLD_TORCH, Evil, refused, same, write
from safetensors.torch import save_file
from torch import Tensor, nn

from dseg.checkpoints import Checkpoint, load_model, read_checkpoint

ONES, ZEROS = {"w": torch.ones(1)}, {"w": torch.zeros(1)}


def read(content: object, folder: Path, *, raw: bool = False, zipped: bool = True) -> Checkpoint:
    return read_checkpoint(write(content, folder / "c.ckpt", zipped=zipped), raw=raw)


def adam() -> dict[str, Any]:
    """Return the state of an optimizer that has made a step, so that it holds tensors."""
    weight = nn.Parameter(torch.ones(3, 3))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    return optimizer.state_dict()


class AttributeDict(dict[str, Any]):
    """Lightning's container of hyper-parameters: a dict whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


class DictConfig:
    """OmegaConf's configuration: an object with a state."""

    def __init__(self) -> None:
        self.content = {"lr": 0.1, "kind": Any, "list": list}


class HistoryBuffer:
    """mmengine's record of a loss: arrays, and a table of its own methods."""

    def __init__(self) -> None:
        self._log_history = np.array([0.5, 0.25])
        self.statistics_methods = {"min": HistoryBuffer.min}

    def min(self) -> float:
        return float(self._log_history.min())


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the classes above the names that they have in their libraries."""
    with monkeypatch.context() as patch:
        for kind, module in (
            (AttributeDict, "lightning.fabric.utilities.data"),
            (DictConfig, "omegaconf.dictconfig"),
            (HistoryBuffer, "mmengine.logging.history_buffer"),
        ):
            patch.setattr(kind, "__module__", module)
            fake = ModuleType(module)
            setattr(fake, kind.__name__, kind)
            for depth in range(module.count(".") + 1):
                parent = module.rsplit(".", depth)[0]
                patch.setitem(sys.modules, parent, fake if depth == 0 else ModuleType(parent))
        yield


def lightning(state: dict[str, Tensor], **others: Any) -> dict[str, Any]:
    """Return what Lightning's Trainer saves."""
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(state),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'mode': 'max'}": {"best_model_score": torch.tensor(0.7)}},
        "optimizer_states": [adam()],
        "lr_schedulers": [{"last_epoch": 3, "base_lrs": [0.1], "_step_count": 4}],
        **others,
    }


@OLD_TORCH
@pytest.mark.parametrize(
    "prefix",
    [
        "model.",
        "net.",
        "network.",
        "model.module.",
        "module.model.",
        "_orig_mod.model.",
        "model._orig_mod.",
        "model.module._orig_mod.module.",
        "model.net.",
        "_fsdp_wrapped_module.model.",
    ],
)
def test_lightning_files_load(
    state: dict[str, Tensor], tmp_path: Path, prefix: str, zipped: bool
) -> None:
    content = lightning({prefix + key: value for key, value in state.items()})
    checkpoint = read(content, tmp_path, zipped=zipped)
    assert list(checkpoint.state) == list(state)
    assert (checkpoint.container, checkpoint.notes) == ("state_dict", ())
    assert checkpoint.extras[:3] == ("epoch", "global_step", "pytorch-lightning_version")
    assert same(load_model(NAME, checkpoint.path), state)


@pytest.mark.usefixtures("elsewhere")
@OLD_TORCH
@pytest.mark.parametrize("make", [dict, AttributeDict, argparse.Namespace, DictConfig])
def test_hyper_parameters_of_any_kind_are_skipped(
    state: dict[str, Tensor], tmp_path: Path, make: type, zipped: bool
) -> None:
    hyper = DictConfig() if make is DictConfig else make(lr=0.1, sizes=[1, 2])
    content = lightning(
        {f"model.{k}": v for k, v in state.items()}, hyper_parameters=hyper, hparams_type=make
    )
    if make is dict:
        del content["hparams_type"]
    checkpoint = read(content, tmp_path, zipped=zipped)
    assert make is dict or make.__name__.encode() in checkpoint.path.read_bytes()
    assert list(checkpoint.state) == list(state)
    assert "hyper_parameters" in checkpoint.extras


@pytest.mark.usefixtures("elsewhere")
@OLD_TORCH
def test_mmengines_files_load(state: dict[str, Tensor], tmp_path: Path, zipped: bool) -> None:
    scalars = OrderedDict({"train/loss": HistoryBuffer()})
    content = {
        "meta": {"epoch": 0, "iter": 4, "dataset_meta": {"classes": ("road", "sky")}},
        "state_dict": OrderedDict(state),
        "message_hub": {"log_scalars": scalars, "runtime_info": {"best": np.float64(76.9)}},
        "optimizer": adam(),
        "param_schedulers": [{"last_step": 4, "_global_step": 5}],
    }
    checkpoint = read(content, tmp_path, zipped=zipped)
    assert b"history_buffer" in checkpoint.path.read_bytes()
    assert b"getattr" in checkpoint.path.read_bytes()
    assert checkpoint.container == "state_dict"
    assert checkpoint.extras == ("meta", "message_hub", "optimizer", "param_schedulers")
    assert same(load_model(NAME, checkpoint.path), state)


@OLD_TORCH
@pytest.mark.parametrize("owner", [OrderedDict, np.ndarray, "text"], ids=str)
def test_an_attribute_of_another_class_is_code(owner: object, tmp_path: Path, zipped: bool) -> None:
    class Attribute:
        def __reduce__(self) -> tuple[Any, ...]:
            return getattr, (owner, "__class__")

    file = write({"model": ONES, "x": Attribute()}, tmp_path / "c.pth", zipped=zipped)
    assert "contains code (getattr)" in refused(lambda: read_checkpoint(file)).problem


def test_another_class_of_the_same_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        pass

    fake = ModuleType("omegaconf.dictconfig")
    fake.Other = Other  # type: ignore[attr-defined]
    Other.__module__, Other.__qualname__ = "omegaconf.dictconfig", "Other"
    monkeypatch.setitem(sys.modules, "omegaconf", ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", fake)
    file = write({"model": ONES, "cfg": Other()}, tmp_path / "c.pth")
    fault = refused(lambda: read_checkpoint(file))
    assert "contains code (omegaconf.dictconfig.Other)" in fault.problem


def test_other_tensors_in_a_lightning_module_are_left_out(tmp_path: Path) -> None:
    keys = ["model.a", "model.b", "model.c", "criterion.weight", "val_iou.confmat"]
    state = {key: torch.ones(1) for key in keys}
    checkpoint = read(lightning(state), tmp_path)
    assert list(checkpoint.state) == ["a", "b", "c"]
    assert checkpoint.notes == ("2 tensors outside model are left out (first criterion.weight).",)
    del state["val_iou.confmat"]
    (note,) = read(lightning(state), tmp_path).notes
    assert note == "1 tensor outside model is left out (first criterion.weight)."


def test_tensors_are_left_out_of_lightning_files_only(tmp_path: Path) -> None:
    keys = ["model.a", "model.b", "head.c"]
    checkpoint = read({"state_dict": {key: torch.ones(1) for key in keys}}, tmp_path)
    assert (list(checkpoint.state), checkpoint.notes) == (keys, ())


def test_of_two_networks_in_lightnings_module_none_is_chosen(tmp_path: Path) -> None:
    keys = ["model.a", "model.b", "teacher.a", "teacher.b"]
    checkpoint = read(lightning({key: torch.ones(1) for key in keys}), tmp_path)
    assert (list(checkpoint.state), checkpoint.notes) == (keys, ())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone._orig_mod.conv.weight", "backbone.conv.weight"),
        ("module.backbone._orig_mod.conv._orig_mod.weight", "backbone.conv.weight"),
        ("backbone.module.conv.weight", "backbone.module.conv.weight"),
        ("submodule.weight", "submodule.weight"),
        ("not_orig_mod.weight", "not_orig_mod.weight"),
    ],
)
def test_wrappers_within_keys(theirs: str, ours: str, tmp_path: Path) -> None:
    assert list(read({theirs: torch.ones(1)}, tmp_path).state) == [ours]


def test_prefixes_are_removed_from_bare_safetensors(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "m.safetensors"
    save_file({f"model.{key}": value for key, value in state.items()}, file)
    assert same(load_model(NAME, file), state)


@OLD_TORCH
@pytest.mark.parametrize(
    ("content", "averaged", "raw"),
    [
        ({"state_dict": ONES, "state_dict_ema": ZEROS}, "state_dict_ema", "state_dict"),
        ({"ema": ZEROS, "model": ONES}, "ema", "model"),
        ({"model_ema": {"state_dict": ZEROS}, "model": ONES}, "model_ema.state_dict", "model"),
        ({"model": ONES, "ema_state_dict": ZEROS}, "ema_state_dict", "model"),
        ({"ema_model": ZEROS, "net": ONES}, "ema_model", "net"),
        ({"ema": {"module": {"module.w": ZEROS["w"]}}, "net": ONES}, "ema.module", "net"),
        (
            {"net": ONES, "ema": {"decay": 0.9, "shadow": ZEROS, "backup": {}}},
            "ema.shadow",
            "net",
        ),
        (
            {"checkpoint": {"model": ONES, "ema": ZEROS}, "epoch": 1},
            "checkpoint.ema",
            "checkpoint.model",
        ),
        ({**ONES, "ema": ZEROS}, "ema", "the top level"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_averaged_weights_are_taken_unless_the_raw_ones_are_asked_for(
    content: dict[str, Any], averaged: str, raw: str, tmp_path: Path, zipped: bool
) -> None:
    checkpoint = read(content, tmp_path, zipped=zipped)
    assert (checkpoint.container, checkpoint.state) == (averaged, ZEROS)
    assert checkpoint.notes == (
        f"The averaged weights ({averaged}) are used; --raw-weights uses the others ({raw}).",
    )
    checkpoint = read(content, tmp_path, raw=True, zipped=zipped)
    container = "" if raw == "the top level" else raw
    assert (checkpoint.container, checkpoint.state) == (container, ONES)
    assert checkpoint.notes == ()


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("name", ["state_dict", "ema"])
def test_where_there_is_one_state_dict_it_is_taken(raw: bool, name: str, tmp_path: Path) -> None:
    checkpoint = read({name: ONES, "epoch": 1}, tmp_path, raw=raw)
    assert (checkpoint.container, checkpoint.state, checkpoint.notes) == (name, ONES, ())


def test_what_the_averaged_weights_lack_is_taken_from_the_raw_ones(tmp_path: Path) -> None:
    own = {"module.w": torch.ones(1), "module.mean": torch.ones(2), "module.var": torch.ones(2)}
    checkpoint = read({"model": own, "ema": {"shadow": ZEROS}}, tmp_path)
    assert list(checkpoint.state) == ["w", "mean", "var"]
    assert [float(value.sum()) for value in checkpoint.state.values()] == [0.0, 2.0, 2.0]
    assert checkpoint.notes == (
        "The averaged weights (ema.shadow) are used; --raw-weights uses the others (model). "
        "Tensors that ema.shadow lacks (2 tensors, first mean) are taken from model.",
    )


def test_averaged_weights_of_another_network_are_not_completed(tmp_path: Path) -> None:
    checkpoint = read({"model": {**ONES, "b": torch.ones(1)}, "ema": {"c": ONES["w"]}}, tmp_path)
    assert list(checkpoint.state) == ["c"]
    assert "lacks" not in checkpoint.notes[0]


def test_the_counter_of_an_averaged_model_is_left_out(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    averaged = torch.optim.swa_utils.AveragedModel(module)
    averaged.update_parameters(module)
    assert "n_averaged" in averaged.state_dict()
    checkpoint = read(averaged.state_dict(), tmp_path)
    assert list(checkpoint.state) == list(module.state_dict())
    assert checkpoint.extras == ("n_averaged",)


@OLD_TORCH
def test_a_flat_file_can_hold_other_values_too(
    state: dict[str, Tensor], tmp_path: Path, zipped: bool
) -> None:
    others = {"epoch": 3, "best_acc": 0.7, "arch": "dense", "scaler": None, 5: "five"}
    checkpoint = read({**state, **others, "optimizer": adam()}, tmp_path, zipped=zipped)
    assert list(checkpoint.state) == list(state)
    assert checkpoint.extras == ("epoch", "best_acc", "arch", "scaler", "<int>", "optimizer")
    assert checkpoint.container == ""


@OLD_TORCH
def test_harmless_values_beside_the_weights(tmp_path: Path, zipped: bool) -> None:
    content = {
        "model": ONES,
        "curves": defaultdict(list, loss=[0.1, 0.2]),
        "by_class": defaultdict(dict, {0: {}}),
        "seen": {1, 2},
        "names": frozenset({"road"}),
        "best": np.float32(0.5),
        "steps": np.int64(3),
        "counts": Counter(a=2),
        "crop": slice(0, 3, None),
        "range": range(3),
        "phase": 1 + 2j,
        "recent": deque([1.0, 2.0], maxlen=5),
        "rate": Decimal("0.1"),
        "torch": torch.__version__,
        "kind": float,
        "raw": b"\x00\xff",
    }
    checkpoint = read(content, tmp_path, zipped=zipped)
    assert checkpoint.state == ONES
    assert checkpoint.extras == tuple(content)[1:]


@OLD_TORCH
@pytest.mark.parametrize("factory", [list, dict, None])
def test_weights_in_a_defaultdict(
    state: dict[str, Tensor], tmp_path: Path, factory: type | None, zipped: bool
) -> None:
    content = {"state_dict": defaultdict(factory, state)}
    checkpoint = read(content, tmp_path, zipped=zipped)
    assert same(load_model(NAME, checkpoint.path), state)


@pytest.mark.parametrize(
    "others",
    [
        {"optimizer": adam()},
        {"optimizer": adam()["state"][0]},  # its tensors have names, as weights do
        {"optim_state": {"w": torch.ones(1), "b": torch.ones(1)}},
        {"opt": {"w": torch.ones(1), "b": torch.ones(1)}},
        {"lr_scheduler": {"w": torch.ones(1), "b": torch.ones(1)}},
        {"grad_scaler": {"scale": torch.ones(1), "_growth_tracker": torch.ones(1)}},
        {"unknown": {"param_groups": [], "w": torch.ones(1), "b": torch.ones(1)}},
        {"rng": {"cpu": torch.get_rng_state(), "cuda": torch.get_rng_state()}},
        {"hyper_parameters": {"class_weights": torch.ones(19), "mean": torch.ones(3)}},
        {"best": torch.tensor(0.5)},
    ],
    ids=lambda others: next(iter(others)),
)
@pytest.mark.parametrize("name", ["model", "segmenter"])
def test_what_a_trainer_resumes_from_is_not_the_network(
    others: dict[str, Any], name: str, tmp_path: Path
) -> None:
    checkpoint = read({**others, name: ZEROS}, tmp_path)
    assert (checkpoint.container, checkpoint.state) == (name, ZEROS)
    assert checkpoint.extras == tuple(others)


def test_containers_can_be_nested(tmp_path: Path) -> None:
    content = {
        "time": 1.5,
        "checkpoint": {"epoch": 3, "model": {"name": "x", "state_dict": ONES, "note": "y"}},
    }
    checkpoint = read(content, tmp_path)
    assert (checkpoint.container, checkpoint.state) == ("checkpoint.model.state_dict", ONES)
    assert checkpoint.extras == (
        "time", "checkpoint.epoch", "checkpoint.model.name", "checkpoint.model.note",
    )  # fmt: skip


def test_containers_are_searched_to_a_depth_and_never_for_ever(tmp_path: Path) -> None:
    deep: dict[str, Any] = dict(ONES)
    for _ in range(6):
        deep = {"model": deep}
    assert read(deep, tmp_path).container == ".".join(["model"] * 6)
    file = write({"model": deep}, tmp_path / "deeper.pth")
    fault = refused(lambda: read_checkpoint(file))
    assert "does not hold a state dict but a dict of 'model'" in fault.problem
    loop: dict[str, Any] = {str(number): None for number in range(50)}
    loop.update((key, loop) for key in list(loop))
    file = write(loop, tmp_path / "loop.pth")
    assert "does not hold a state dict" in str(refused(lambda: read_checkpoint(file)))


def test_a_state_dict_that_contains_itself_is_read_once(tmp_path: Path) -> None:
    content: dict[str, Any] = dict(ONES)
    content["model"] = content
    checkpoint = read(content, tmp_path)
    assert (checkpoint.container, checkpoint.extras) == ("", ("model",))


def test_of_unknown_names_the_one_with_most_tensors_is_taken(tmp_path: Path) -> None:
    content = {"stats": {"mean": torch.ones(1)}, "g": {**ONES, "b": torch.ones(1)}}
    assert read(content, tmp_path).container == "g"


def test_attributes_that_a_file_sets_on_a_dict_change_nothing(tmp_path: Path) -> None:
    class Shadowed:
        def __reduce__(self) -> tuple[Any, ...]:
            attributes = dict.fromkeys(("items", "keys", "values", "get", "__iter__"), 5)
            return OrderedDict, (), attributes, None, iter(ONES.items())

    file = write({"model": Shadowed(), "epoch": 3}, tmp_path / "c.pth")
    made = torch.load(file, weights_only=True)["model"]
    assert made.items == 5
    checkpoint = read_checkpoint(file)
    assert (checkpoint.state, checkpoint.extras) == (ONES, ("epoch",))


@OLD_TORCH
@pytest.mark.parametrize("call", [(getattr, "x"), (exec, "x"), (__import__, "os")], ids=str)
@pytest.mark.parametrize("within", [dict, OrderedDict, list, tuple])
def test_code_is_refused_anywhere(
    call: tuple[Any, str], within: type, tmp_path: Path, zipped: bool
) -> None:
    evil = Evil(*call)
    content = within([("a", evil)]) if within in (dict, OrderedDict) else within([evil])
    file = write({"model": ONES, "hyper_parameters": content}, tmp_path / "c.pth", zipped=zipped)
    fault = refused(lambda: read_checkpoint(file))
    assert f"contains code ({call[0].__name__})" in fault.problem


def test_two_tensors_of_one_name_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    twice = {**state, **{f"module.{key}": value for key, value in state.items()}}
    fault = refused(lambda: read_checkpoint(write(twice, tmp_path / "twice.pth")))
    assert fault.problem.startswith("Two tensors of the checkpoint are named ")


def test_an_update_counter_is_not_an_averaged_network(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    content = {"state_dict": state, "ema_state": {"num_updates": torch.tensor(5)}}
    checkpoint = read_checkpoint(write(content, tmp_path / "w.pth"))
    assert (checkpoint.container, checkpoint.notes) == ("state_dict", ())
