"""``--verbose``: which network is used, what computes it, and how long each stage took."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from cli_runs import run

DABNET = Path(__file__).parent / "golden/authors/dabnet_paddle/best.params"
DETAIL = "The file is Paddle's: _mean and _variance are read as running_mean and running_var."


def test_verbose_says_what_is_used_and_for_how_long(infer) -> None:
    text = infer("img", "-v", "--runtime", "torch").stderr
    facts = dict(re.findall(r"^(Network|Weights|Runtime|Protocol|Input|Time) +(.*)$", text, re.M))
    assert facts["Network"] == "mobilenetdenseaspp, 2.49 M parameters, 19 classes of cityscapes"
    assert re.fullmatch(r"mobile\.safetensors, SHA-256 [0-9a-f]{12}\.\.\.", facts["Weights"])
    assert facts["Runtime"] == "PyTorch in float32 on cpu, 1 thread"
    assert facts["Protocol"] == "plain: whole image once"
    assert facts["Input"] == "2 images"
    assert re.fullmatch(
        r"[\d.]+ s, of which reading [\d.]+ s, network [\d.]+ s, writing [\d.]+ s; stages overlap",
        facts["Time"],
    )


def test_without_it_there_are_no_details(infer) -> None:
    assert not re.search(r"^(Network|Runtime|Time) ", infer("img").stderr, re.M)


def test_quiet_wins_over_verbose(infer) -> None:
    assert infer("img", "-v", "-q").output == ""


@pytest.mark.skipif(not DABNET.is_file(), reason="the file of DABNet's authors is not here")
def test_how_a_file_is_read_is_a_detail(here: Path) -> None:
    shutil.copy(DABNET, "dabnet.params")
    words = ("infer", "img/a.png", "-w", "dabnet.params", "--runtime", "torch", "--device", "cpu")
    assert DETAIL not in run(*words).stderr
    assert DETAIL in run(*words, "--overwrite", "-v").stderr
    assert f"note: {DETAIL}" in run("inspect", "dabnet.params").stdout
