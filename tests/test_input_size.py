"""Prediction at an input size other than the image size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import contents, misused, pixels, refused
from PIL import Image
from stand_ins import StandIn, assert_same_labels, draw, normalise, predictor, resize
from torch import Tensor
from torch.nn import functional as F

from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.predict import Protocol, resizing
from dseg.predict import fusion as bands_file
from dseg.predict.attempts import AUTO_TILES
from dseg.predict.bicubic import CubicRowResizer
from dseg.predict.resizing import RowResizer, crops_of, resize_bands
from dseg.protocol import Upsample

SIZE = (57, 83)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


class Pointwise(StandIn):
    """Scores each pixel by itself, so that tiles give the scores of the whole image."""

    def __init__(self) -> None:
        super().__init__(stride=1)


class HalfPixels(StandIn):
    align_corners = False


class Cubic(StandIn):
    align_corners = False
    upsampling = "bicubic"


def bicubic(image: Pixels, height: int, width: int) -> Pixels:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


# The formula


@pytest.mark.parametrize(
    ("protocol", "input_size"),
    [
        ({"input_size": (40, 100)}, (40, 100)),
        ({"input_size": (17, 16)}, (17, 16)),
        ({"input_scale": 0.5}, (28, 41)),
        ({"input_scale": 1.5}, (85, 124)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [StandIn, HalfPixels, Cubic])
def test_it_is_resize_in_logits_resize_out(
    kind: type[StandIn], protocol: dict[str, object], input_size: tuple[int, int]
) -> None:
    model, image = kind(), draw(*SIZE)
    found = predictor(model, **protocol)
    scores = found.scores(image)
    assert model.sizes == [input_size]
    logits = model.logits(normalise(bicubic(image, *input_size)))[0]
    expected = F.interpolate(logits, SIZE, mode=kind.upsampling, align_corners=kind.align_corners)
    torch.testing.assert_close(scores, expected[0], rtol=1e-4, atol=1e-4)
    done = found.predict(image, confidence=True)
    assert done.train_ids.shape == SIZE
    assert done.tile is None
    assert_same_labels(done.train_ids, expected[0])


@pytest.mark.parametrize("protocol", [{"input_scale": 1.0}, {"input_size": SIZE}], ids=str)
@pytest.mark.parametrize("tile", [None, (32, 40)], ids=["whole", "tiles"])
def test_the_images_own_size_changes_nothing(
    protocol: dict[str, object], tile: tuple[int, int] | None
) -> None:
    image = draw(*SIZE)
    plain = predictor(StandIn(), tile=tile).predict(image, confidence=True)
    found = predictor(StandIn(), tile=tile, **protocol).predict(image, confidence=True)
    assert np.array_equal(found.train_ids, plain.train_ids)
    assert np.array_equal(found.confidence, plain.confidence)
    assert found.tile == plain.tile


def test_an_input_scale_is_one_scale_and_scales_multiply_it() -> None:
    image = draw(*SIZE)
    by_scale = predictor(StandIn(), scales=(0.5,), flip=True).scores(image)
    assert torch.equal(predictor(StandIn(), input_scale=0.5, flip=True).scores(image), by_scale)
    model = StandIn()
    found = predictor(model, scales=(0.5, 1.0, 2.0), input_size=(40, 50)).scores(image)
    sizes = [(20, 25), (40, 50), (80, 100)]
    assert model.sizes == sizes
    views = [model.logits(normalise(bicubic(image, *size)))[0] for size in sizes]
    expected = torch.stack([resize(view, *SIZE) for view in views]).mean(0)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_probabilities_are_fused_at_the_images_size() -> None:
    image = draw(*SIZE)
    found = predictor(StandIn(), scales=(0.5, 1.0), fusion="prob", input_scale=0.75).scores(image)
    sizes = [(21, 31), (42, 62)]
    views = [StandIn().logits(normalise(bicubic(image, *size)))[0] for size in sizes]
    expected = torch.stack([resize(view, *SIZE).softmax(1) for view in views]).mean(0)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# Tiles, and images that are too large


@pytest.mark.parametrize("protocol", [{"input_size": (90, 70)}, {"input_scale": 1.3}], ids=str)
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 1.0)], ids=str)
def test_tiles_are_tiles_of_the_resized_image(
    protocol: dict[str, object], scales: tuple[float, ...]
) -> None:
    model, image = Pointwise(), draw(*SIZE)
    whole = predictor(model, scales=scales, **protocol)
    expected = whole.scores(image)
    model.sizes.clear()
    tiled = predictor(model, scales=scales, tile=(64, 40), **protocol).predict(image)
    assert tiled.tile == (64, 40)
    assert set(model.sizes) == {(64, 40)}
    assert_same_labels(tiled.train_ids, expected)
    large = predictor(model, tile=(200, 200), **protocol).predict(image)
    assert large.tile is None
    assert np.array_equal(large.train_ids, whole(image))


@pytest.mark.parametrize("size", [(40, 30), (150, 90)], ids=str)
def test_scores_too_large_to_be_held_are_resized_out_in_strips(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = draw(*SIZE)
    expected = predictor(Pointwise(), input_size=size).scores(image)
    monkeypatch.setattr(bands_file, "WHOLE_PIXELS", SIZE[0] * SIZE[1] - 1)
    monkeypatch.setattr(resizing, "STRIP_PIXELS", 7 * SIZE[1])
    machine = predictor(Pointwise(), input_size=size)
    bands = list(machine._bands.of([image], None))
    assert len(bands) > 8
    assert max(band.shape[2] for _, band in bands) <= 7
    found = torch.cat([band[0] for _, band in bands], 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


WAYS = [("bilinear", True), ("bilinear", False), ("bicubic", False)]  # with aligned corners?


@pytest.mark.parametrize(("upsample", "align_corners"), WAYS)
@pytest.mark.parametrize("most", [1, 50, 10_000])
@pytest.mark.parametrize(
    ("size", "out"),
    [
        ((9, 7), (23, 31)),
        ((40, 30), (11, 13)),
        ((1, 5), (6, 1)),
        ((6, 1), (1, 5)),
        ((8, 8), (8, 9)),
    ],
    ids=str,
)
def test_bands_are_resized_as_the_whole_is(
    size: tuple[int, int],
    out: tuple[int, int],
    most: int,
    upsample: Upsample,
    align_corners: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resizing, "STRIP_PIXELS", most)
    torch.manual_seed(0)
    scores = torch.randn(3, *size)
    expected = F.interpolate(scores[None], out, mode=upsample, align_corners=align_corners)[0]

    def bands(rows: int) -> Iterator[tuple[int, Tensor]]:
        for top in range(0, size[0], rows):
            band = scores[:, top : top + rows].clone()
            yield top, band
            band.fill_(torch.nan)  # a band is valid until the next one

    for rows in (1, 4, size[0]):
        how = {"align_corners": align_corners, "upsample": upsample}
        parts = list(resize_bands(bands(rows), size, out, **how))
        tops = [top for top, _ in parts]
        assert tops == np.cumsum([0, *(part.shape[1] for _, part in parts[:-1])]).tolist()
        found = torch.cat([part for _, part in parts], 1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("upsample", "align_corners"), WAYS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("size", "out"),
    [
        ((8, 9), (64, 72)),
        ((9, 7), (30, 41)),
        ((9, 40), (110, 99)),
        ((20, 30), (7, 8)),
        ((1, 1), (5, 6)),
        ((5, 6), (1, 1)),
    ],
    ids=str,
)
def test_any_band_of_rows_is_that_of_the_resized_whole(
    size: tuple[int, int],
    out: tuple[int, int],
    layout: torch.memory_format,
    upsample: Upsample,
    align_corners: bool,
) -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, 19, *size).to(memory_format=layout)
    expected = F.interpolate(scores, out, mode=upsample, align_corners=align_corners)
    resizer: RowResizer | CubicRowResizer = RowResizer(scores, out, align_corners=align_corners)
    atol = 2e-6
    if upsample == "bicubic":  # whose weights are the more exact the smaller the position
        resizer, atol = CubicRowResizer(scores, out), 1e-5
    for rows in (1, 3, out[0]):
        for top in range(0, out[0], rows):
            bottom = min(top + rows, out[0])
            found = resizer.rows(top, bottom)
            torch.testing.assert_close(found, expected[:, :, top:bottom], rtol=1e-6, atol=atol)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scales": (0.5, 1.0), "flip": True},
        {"scales": (0.5, 0.75), "fusion": "prob"},
        {"scales": (2.0, 1.5, 0.5), "flip": True},
        {"restore": "bilinear", "input_size": (40, 60), "scales": (0.5, 1.0)},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [Pointwise, Cubic])
def test_scores_in_bands_are_those_of_the_whole(
    kind: type[StandIn], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resizing, "BAND_VALUES", 2000)
    scorer = predictor(kind(), **options)._scorer
    protocol = scorer.protocol
    image = draw(*SIZE)

    def views(scale: float) -> list[Pixels]:
        return [bicubic(image, *protocol.input_of(SIZE, scale))]

    expected = scorer.fused(views, SIZE)
    bands = [(top, band.clone()) for top, band in scorer.fused_bands(views, SIZE)]
    tops = [top for top, _ in bands]
    assert tops == np.cumsum([0, *(band.shape[2] for _, band in bands[:-1])]).tolist()
    assert (len(bands) > 1) == (protocol.restore == "direct")
    found = torch.cat([band for _, band in bands], 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(114, 166), (40, 100), (57, 30), (171, 83)], ids=str)
def test_crops_are_those_of_the_whole_resized_image(size: tuple[int, int]) -> None:
    image = draw(*SIZE)
    whole = bicubic(image, *size).astype(int)
    cut = crops_of(image, size)
    for top, left, h, w in ((0, 0, *size), (3, 5, 20, 25), (size[0] - 9, size[1] - 11, 9, 11)):
        piece = cut(top, left, h, w)
        assert piece.shape == (h, w, 3)
        # the box of a crop is rounded to 32 bits
        assert np.abs(piece - whole[top : top + h, left : left + w]).max() <= 1


@pytest.mark.parametrize(
    ("size", "protocol", "attempts"),
    [
        ((6000, 8000), {"input_size": (1024, 2048)}, [None, (512, 1024), (256, 512)]),
        ((6000, 8000), {"input_scale": 0.25}, [None, *AUTO_TILES]),
        ((6000, 8000), {"input_scale": 0.5}, list(AUTO_TILES)),
        ((1024, 2048), {"input_scale": 4.0}, list(AUTO_TILES)),
        ((256, 512), {"input_size": (1024, 2048), "scales": (2.5,)}, list(AUTO_TILES[1:])),
        ((6000, 8000), {"input_size": (256, 512)}, [None]),
        ((6000, 8000), {"input_size": (100, 90), "tile": (100, 90)}, [None]),
        ((60, 80), {"input_size": (100, 90), "tile": (100, 80)}, [(100, 80)]),
    ],
    ids=str,
)
def test_the_pixels_of_the_resized_view_decide_about_tiles(
    size: tuple[int, int], protocol: dict[str, object], attempts: list[tuple[int, int] | None]
) -> None:
    image = np.broadcast_to(np.zeros(3, np.uint8), (*size, 3))
    assert list(predictor(StandIn(), **protocol)._attempts(image)) == attempts


# Errors


@pytest.mark.parametrize(
    ("protocol", "problem"),
    [
        ({"input_size": (8, 9), "input_scale": 0.5}, "Both an input size (8x9) and an input scale"),
        ({"input_size": (0, 9)}, "An input size of 0x9 has no pixels"),
        ({"input_scale": 0.0}, "An input scale of 0.0 cannot be used"),
        ({"input_scale": 8.5}, "An input scale of 8.5 cannot be used"),
        ({"input_scale": float("nan")}, "An input scale of nan cannot be used"),
    ],
    ids=str,
)
def test_a_protocol_that_makes_no_sense_is_refused(
    protocol: dict[str, object], problem: str
) -> None:
    with pytest.raises(DsegError) as caught:
        Protocol(**protocol)  # type: ignore[arg-type]
    assert caught.value.problem.startswith(problem)
    assert caught.value.hint


# The commands


@pytest.mark.parametrize("command", ["infer", "multiscale-infer"])
def test_masks_keep_the_images_own_size(infer, command) -> None:
    result = infer("img", "--input-size", "32x40", "--save", "label_ids", command=command)
    assert result.exit_code == 0, result.output
    assert pixels("dseg-out/label_ids/a.png").shape == (48, 64)
    assert pixels("dseg-out/label_ids/sub/b.png").shape == (40, 50)
    settings = json.loads(Path("dseg-out/dseg-run.json").read_text())
    assert (settings["input_size"], settings["input_scale"]) == ([32, 40], 1.0)


def test_the_commands_hand_the_scale_on(infer) -> None:
    words = ("img", "--save", "label_ids,confidence")
    assert infer(*words, "--input-scale", "1/2", "-o", "half").exit_code == 0
    single = ("--scales", "0.5", "--no-flip", "-o", "scales")
    assert infer(*words, *single, command="multiscale-infer").exit_code == 0
    half, scales = contents("half"), contents("scales")
    assert json.loads(half.pop("dseg-run.json"))["input_scale"] == 0.5
    del scales["dseg-run.json"]
    assert half == scales


def test_runs_of_different_sizes_do_not_mix(infer) -> None:
    assert infer("img", "--input-size", "32x40").exit_code == 0
    before = contents("dseg-out")
    problem = "results of another run (input_size: [32, 40], now None)"
    refused(infer("img", "--input-scale", "2"), 2, problem, "--overwrite")
    assert "0 labelled, 2 already there" in infer("img", "--input-size", "32x40").stderr
    assert contents("dseg-out") == before


def test_a_run_of_an_older_version_was_not_resized_and_goes_on(infer) -> None:
    assert infer("img").exit_code == 0
    record = Path("dseg-out/dseg-run.json")
    settings = json.loads(record.read_text())
    del settings["input_size"], settings["input_scale"]
    record.write_text(json.dumps(settings))
    before = contents("dseg-out")
    Path("dseg-out/color/a.png").unlink()
    result = infer("img")
    assert (result.exit_code, "1 labelled, 1 already there" in result.stderr) == (0, True)
    assert contents("dseg-out") == before
    problem = "results of another run (input_scale: 1.0, now 0.5)"
    refused(infer("img", "--input-scale", "0.5"), 2, problem)


def test_wrong_sizes_are_refused(infer) -> None:
    misused(infer("img", "--input-size", "big"), "'big' is not a size like 1024x2048")
    misused(infer("img", "--input-scale", "half"), "'half' is not a fraction like 0.25 or 1/3")
    both = infer("img", "--input-size", "64x96", "--input-scale", "0.5")
    refused(both, 2, "Both an input size (64x96) and an input scale (0.5)", "one of them")
    refused(infer("img", "--input-size", "0x9"), 2, "has no pixels", "above 0")
    refused(
        infer("img", "--input-scale", "-1"), 2, "scale of -1.0 cannot be used", "from 0.001 to 8"
    )
    assert not Path("dseg-out").exists()
