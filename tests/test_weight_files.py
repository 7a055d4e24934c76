"""The table of weight files: its entries fit the registry, the files, and torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision.models import get_model_weights

from dseg.checkpoints import find_bundled, sha256
from dseg.downloads import find_in_folder
from dseg.registry import MODELS
from dseg.registry.weight_files import WeightFile, find_by_digest, weight_files

AUTHORS = Path(__file__).parent / "golden" / "authors"
FILES = weight_files()
BACKBONES = [name for name, file in FILES.items() if not file.network]
EACH = pytest.mark.parametrize("file", FILES.values(), ids=list(FILES))


@EACH
def test_an_entry_is_complete(file: WeightFile) -> None:
    assert set(file.sha256) <= set("0123456789abcdef")
    assert len(file.sha256) == (8 if "pytorch.org" in file.url else 64)
    assert bool(file.url) != file.bundled
    assert file.url.startswith("https://") or file.bundled
    assert file.licence and file.data and file.source
    assert bool(file.score) == bool(file.score_source)
    assert file.network in (file.name, "") or file.bundled


@EACH
def test_a_file_of_a_network_is_found_by_its_name(file: WeightFile, tmp_path: Path) -> None:
    if not file.network:
        return
    (tmp_path / file.file).parent.mkdir(exist_ok=True)
    (tmp_path / file.file).touch()
    assert find_in_folder(file.network, tmp_path) == tmp_path / file.file
    assert file.label_space == MODELS[file.network].label_space


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("dabnet_paddle/best.params", "dabnet"),
        ("espnet/espnet_p_2_q_8.pth", "espnet"),
        ("espnet/espnet_p_2_q_8_camvid.pth", "espnet_camvid"),
        ("espnet/espnet_c_p_2_q_8.pth", "espnet_c"),
    ],
)
def test_digests_and_sizes_are_those_of_the_files(path: str, name: str) -> None:
    file = find_by_digest(sha256(AUTHORS / path))
    assert file is not None
    assert (file.name, file.size) == (name, (AUTHORS / path).stat().st_size)


def test_the_bundled_file_is_in_the_table() -> None:
    file = find_by_digest(sha256(find_bundled()))
    assert file is not None
    assert (file.name, file.bundled, file.non_commercial_data) == ("dabnet_bundled", True, True)
    assert file.size == find_bundled().stat().st_size


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_are_those_of_torchvision(name: str) -> None:
    weights = get_model_weights(name)["IMAGENET1K_V1"]
    assert FILES[name].url == weights.url
    assert FILES[name].size == pytest.approx(weights.meta["_file_size"] * 2**20, abs=600)
    assert f"-{FILES[name].sha256}." in FILES[name].url


def test_terms_of_data_are_combined() -> None:
    assert FILES["dabnet"].non_commercial_data is True
    assert FILES["deeplabv3_r50_voc"].non_commercial_data is True  # ImageNet, by the backbone
    assert FILES["deeplabv3_r50_voc"].data_terms.startswith("COCO: annotations CC BY 4.0")
