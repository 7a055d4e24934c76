"""What ``import dseg`` offers to a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dseg

LAZY = "import sys, dseg; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", dseg.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert name in dir(dseg)
    value = getattr(dseg, name)
    assert name == "MODELS" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dseg.nonsense


def test_a_program_labels_an_image_in_three_lines(checkpoint: Path) -> None:
    model = dseg.load_model("mobilenetdenseaspp", weights=checkpoint)
    train_ids = dseg.Predictor(model, device="cpu")(np.zeros((40, 50, 3), np.uint8))
    assert (train_ids.shape, train_ids.dtype) == ((40, 50), np.uint8)
    assert not model.training


def test_classes_can_be_any_number() -> None:
    model = dseg.build_model("MobileNet-DenseASPP", num_classes=3)
    assert model.card.label_space.names == ("class 0", "class 1", "class 2")
    with pytest.raises(dseg.DsegError, match="Unknown argument 'depth' of"):
        dseg.build_model("mobilenetdenseaspp", depth=3)


def test_the_package_is_typed() -> None:
    assert (Path(dseg.__file__).parent / "py.typed").is_file()
