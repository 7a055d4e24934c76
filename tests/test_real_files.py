"""Published checkpoint files give their authors' masks: ESPNet's, and a DABNet of Paddle.

``golden/authors/`` holds the files, and the masks that the authors' code made of four frames of
CamVid. To compare with them, set ``CAMVID`` to a folder with the frames, in SegNet's layout.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from authors_masks import (
    DABNET,
    ESPNET,
    ESPNET_CAMVID,
    Network,
    bilinear,
    draw_image,
    fraction_equal,
    infer,
    labels_of,
    shows_classes,
    without_corners,
)
from cli_runs import pixels, run
from PIL import Image

import dseg
from dseg.checkpoints import sha256
from dseg.images import Pixels

AUTHORS = Path(__file__).parent / "golden" / "authors"
FRAMES = ("0001TP_008850", "0001TP_010350", "Seq05VD_f01440", "Seq05VD_f02940")
CAMVID = os.environ.get("CAMVID")


def espnet_at_512x1024(network: Network, image: Pixels) -> Pixels:
    """Return the outputs at that size, to which the image is resized after its normalisation."""
    view = bilinear(ESPNET(image), (512, 1024), corners=False) / 255
    return labels_of(bilinear(network(view), (512, 1024), corners=False))


def espnet_at_own_size(network: Network, image: Pixels) -> Pixels:
    return labels_of(network(ESPNET_CAMVID(image) / 255))


def dabnet(network: Network, image: Pixels) -> Pixels:
    return without_corners(network, image, DABNET)


@dataclass(frozen=True)
class RealFile:
    """A published file.

    Attributes:
        path: path below ``AUTHORS``.
        sha256: SHA-256 of the file.
        network: network that the file is identified as.
        outputs_of: the authors' processing of an image, with our network's logits.
        void: the output that stands for no class, and its label id.
        least: smallest accepted fraction of pixels equal to the recorded masks.
    """

    path: str
    sha256: str
    network: str
    outputs_of: Callable[[Network, Pixels], Pixels]
    void: tuple[int, int] | None
    least: float

    @property
    def file(self) -> Path:
        return AUTHORS / self.path

    @property
    def recorded(self) -> Path:
        folder = self.file.parent / "expected"
        return folder / self.file.stem if self.network.startswith("espnet") else folder


FILES = [
    RealFile(
        path="espnet/espnet_p_2_q_8.pth",
        sha256="343b0e77e8545d36113c4f3efbf1ee349256f25c97c9f9d5ddefe45f2f49763e",
        network="espnet",
        outputs_of=espnet_at_512x1024,
        void=(19, 0),
        least=0.99,
    ),
    RealFile(
        path="espnet/espnet_c_p_2_q_8.pth",
        sha256="836f28a2a31bd4fc8997001ab6b620d1f9b7b274a03b32d9f3a95c17a011b438",
        network="espnet_c",
        outputs_of=espnet_at_512x1024,
        void=(19, 0),
        least=0.99,
    ),
    RealFile(
        path="espnet/espnet_p_2_q_8_camvid.pth",
        sha256="7d354a257170322086dcd4c1e89a482454cf2c9d30b085e70883878dd59301af",
        network="espnet_camvid",
        outputs_of=espnet_at_own_size,
        void=(11, 11),
        least=0.995,
    ),
    RealFile(
        path="dabnet_paddle/best.params",
        sha256="6e1bd4a748cd8bd499260f362dfa7dcb39e895770f2bfeb168d670e1bd70586c",
        network="dabnet",
        outputs_of=dabnet,
        void=None,
        least=0.999,
    ),
]
EACH_FILE = pytest.mark.parametrize("real", FILES, ids=[real.network for real in FILES])


def enlarged(outputs: Pixels, image: Pixels) -> Pixels:
    """Repeat the labels of a mask so that it is as large as an image."""
    sides = image.shape[1], image.shape[0]
    return np.asarray(Image.fromarray(outputs).resize(sides, Image.Resampling.NEAREST))


def train_ids_of(outputs: Pixels, real: RealFile) -> Pixels:
    """Return train ids: 255 where the output stands for no class."""
    return np.where(outputs == real.void[0], 255, outputs) if real.void else outputs


@EACH_FILE
def test_a_published_file_gives_its_authors_mask(real: RealFile, tmp_path: Path) -> None:
    assert sha256(real.file) == real.sha256
    image = draw_image(360, 480)
    model = dseg.load_model(weights=real.file)
    with torch.inference_mode():
        outputs = real.outputs_of(lambda view: model.logits(view)[0], image)
    expected = train_ids_of(enlarged(outputs, image), real)
    assert shows_classes(expected)
    mask, result = infer(real.file, image, "--save", "train_ids,label_ids", "-v", folder=tmp_path)
    assert fraction_equal(mask, expected) >= 0.999
    notes = [line for line in result.stderr.splitlines() if line.startswith("The ")]
    found = f"The network is {real.network}, judging by the file's keys and shapes."
    paddle = "The file is Paddle's: _mean and _variance are read as running_mean and running_var."
    assert notes == ([paddle, found] if real.network == "dabnet" else [found])
    if real.void:
        void = mask == 255
        label_ids = pixels(tmp_path / "masks" / "label_ids" / "image.png")
        assert void.any()
        assert np.array_equal(label_ids == real.void[1], void)


@EACH_FILE
def test_inspect_says_what_a_published_file_is(real: RealFile) -> None:
    result = run("inspect", real.file)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert f"sha256: {real.sha256}" in lines
    assert f"network: {real.network}" in lines
    assert f"void_outputs: {real.void[0] if real.void else 'none'}" in lines
    assert f"label_space: {'camvid' if 'camvid' in real.network else 'cityscapes'}" in lines
    assert f"order: {'BGR' if real.network.startswith('espnet') else 'RGB'}" in lines
    assert (
        next(line for line in lines if line.startswith("fits: ")).split()[1] == f"{real.network},"
    )


@EACH_FILE
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.skipif(not CAMVID, reason="CAMVID names no folder with CamVid's frames (test/*.jpg)")
def test_a_frame_of_camvid_gives_the_mask_that_was_recorded(
    real: RealFile, frame: str, tmp_path: Path
) -> None:
    with Image.open(Path(str(CAMVID)) / "test" / f"{frame}.jpg") as file:
        image = np.asarray(file.convert("RGB"))
    with Image.open(real.recorded / f"{frame}.png") as file:
        outputs = np.asarray(file)
    mask, _ = infer(real.file, image, folder=tmp_path)
    assert fraction_equal(mask, train_ids_of(enlarged(outputs, image), real)) >= real.least


def test_the_recorded_masks_are_complete() -> None:
    for real in FILES:
        assert sorted(file.stem for file in real.recorded.glob("*.png")) == sorted(FRAMES)
