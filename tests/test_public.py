"""The public names of ``import dseg``."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dseg

CONSTANTS = ("LABEL_SPACES", "MODELS")
LAZY = "import sys, dseg; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", dseg.__all__)
def test_every_public_name_is_listed_and_imported_on_first_use(name: str) -> None:
    assert name in dir(dseg)
    assert getattr(dseg, name) is not None


def test_type_checkers_find_every_public_name() -> None:
    tree = ast.parse(Path(dseg.__file__).read_text())
    typed = {
        f"{node.module}.{alias.name}"
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {f"{module}.{name}" for name, module in dseg._MODULES.items()}
    assert set(dseg._MODULES) == set(dseg.__all__)


@pytest.mark.parametrize("name", [name for name in dseg.__all__ if name not in CONSTANTS])
def test_every_public_function_and_class_is_documented_by_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(dseg, name)) or ""
    assert re.search(r"^( *>>> | {4}.*dseg\.)", text, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in dseg.__all__ if name[0].islower()])
def test_every_public_function_has_types(name: str) -> None:
    signature = inspect.signature(getattr(dseg, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dseg.nonsense


def test_a_program_labels_an_image_in_three_lines(checkpoint: Path) -> None:
    model = dseg.load_model("mobilenetdenseaspp", weights=checkpoint)
    train_ids = dseg.Predictor(model, device="cpu")(np.zeros((40, 50, 3), np.uint8)).train_ids
    assert (train_ids.shape, train_ids.dtype) == ((40, 50), np.uint8)
    assert not model.training


def test_classes_can_be_any_number() -> None:
    model = dseg.build_model("MobileNet-DenseASPP", num_classes=3)
    assert model.card.label_space.names == ("class 0", "class 1", "class 2")
    with pytest.raises(dseg.DsegError, match="Unknown argument 'depth' of"):
        dseg.build_model("mobilenetdenseaspp", depth=3)


def test_the_package_is_typed() -> None:
    assert (Path(dseg.__file__).parent / "py.typed").is_file()


def test_paths_can_be_text(here: Path) -> None:
    model = dseg.build_model("dabnet", num_classes=3)
    dseg.save_model(model, "three.safetensors")
    assert dseg.load_model(weights="three.safetensors").card.num_outputs == 3
    samples = str(Path(dseg.__file__).parent / "samples")
    assert len(dseg.load_dataset("scenes", samples, "demo")) == 2
