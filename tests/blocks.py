"""Recordings of single modules of the authors' code, and their comparison with our modules."""

from __future__ import annotations

import numpy as np
import torch
from golden.fill import fill_state_dict
from goldens import FOLDER, read_contract
from torch import nn

from dseg.checkpoints.keys import rename_keys
from dseg.models.base import KeyMap


def find_block_difference(golden: str, module: nn.Module, key_map: KeyMap = ()) -> float:
    """Return the largest difference from a ``block_*`` recording, in its standard deviations.

    Args:
        module: our module, of the recorded shape; gets the weights of the recording.
        key_map: maps the authors' keys to those of ``module``.

    Raises:
        AssertionError: keys of the recording and of the module differ.
    """
    contract = read_contract(FOLDER, golden)
    filled = fill_state_dict(contract["state_dict"], contract["gain"])
    state = rename_keys(key_map, {key: torch.from_numpy(value) for key, value in filled.items()})
    report = module.load_state_dict(state, strict=False)
    missing = [key for key in report.missing_keys if not key.endswith("num_batches_tracked")]
    assert (missing, report.unexpected_keys) == ([], [])
    facts = contract["outputs"]["block"]
    values = np.random.RandomState(facts["seed"]).randn(*facts["input_shape"])
    x = torch.from_numpy((values * contract["input"]["scale"]).astype(np.float32))
    with torch.inference_mode():
        found = module.eval()(x)
    expected = np.load(FOLDER / f"{golden}.npz")["block"]
    assert found.shape == expected.shape
    return float(np.abs(found.numpy() - expected).max() / facts["std"])
