"""``dseg transfer-labels`` as a user runs it: files, names, faults and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dseg.cli import main
from dseg.images import read_mask_file
from dseg.labels import find_label_space

SPACE = find_label_space("cityscapes")
TRAIN_IDS = np.array([[*range(19), 255]], np.uint8)
WANTED = np.array([[*SPACE.label_ids, 0]], np.uint8)
COLORS = np.array([[*SPACE.colors, (0, 0, 0)]], np.uint8)
NAME = "aachen_000000_000019_leftImg8bit.png"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["transfer-labels", *map(str, args)])


def save(path: Path, pixels: np.ndarray, palette: list[int] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    image.save(path)
    return path


def load(path: Path) -> list[list[int]]:
    with Image.open(path) as image:
        values: list[list[int]] = np.asarray(image).tolist()
        return values


def test_ambiguous_ids_write_nothing_and_can_be_named(tmp_path: Path) -> None:
    save(tmp_path / "in" / NAME, np.array([[7, 11]], np.uint8))
    result = run(tmp_path / "in")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: 7, 11, the only values of {NAME}, can be train ids")
    assert not (tmp_path / "label_ids").exists()
    assert run(tmp_path / "in", "--from", "train-ids").exit_code == 0
    assert load(tmp_path / "label_ids" / NAME) == [[20, 24]]
    assert run(tmp_path / "in", "--from", "label-ids", "--overwrite").exit_code == 0
    assert load(tmp_path / "label_ids" / NAME) == [[7, 11]]


def test_rgb_rgba_and_palette_files_alike(tmp_path: Path) -> None:
    folder = tmp_path / "color"
    save(folder / "rgb.png", COLORS)
    save(folder / "rgba.png", np.dstack([COLORS, np.full((1, 20), 9, np.uint8)]))
    save(folder / "palette.png", TRAIN_IDS, SPACE.palette())
    shuffled = np.roll(np.array(SPACE.palette()).reshape(256, 3), 3, axis=0).ravel().tolist()
    save(folder / "shuffled.png", TRAIN_IDS + 3, shuffled)  # 255 wraps to 2, black too
    result = run(folder)
    assert result.exit_code == 0, result.output
    for name in ("rgb", "rgba", "palette", "shuffled"):
        written = read_mask_file(tmp_path / "label_ids" / f"{name}.png")
        assert written.palette is None
        assert written.values.tolist() == WANTED.tolist()


def test_ids_of_a_palette_file_are_its_indices_if_named(tmp_path: Path) -> None:
    save(tmp_path / "in/x.png", np.array([[7, 255]], np.uint8), SPACE.palette())
    assert run(tmp_path / "in", "--from", "train-ids").exit_code == 0
    assert load(tmp_path / "label_ids/x.png") == [[20, 0]]


def test_colour_files_are_palettes_of_train_ids(tmp_path: Path) -> None:
    save(tmp_path / "label_ids" / NAME, WANTED)
    assert run(tmp_path / "label_ids", "--to", "color").exit_code == 0
    written = tmp_path / "color" / NAME
    assert load(written) == TRAIN_IDS.tolist()
    with Image.open(written) as image:
        assert image.mode == "P"
        assert np.asarray(image.convert("RGB")).tolist() == COLORS.tolist()


def test_there_and_back_again(tmp_path: Path) -> None:
    save(tmp_path / "a/label_ids" / NAME, WANTED)
    assert run(tmp_path / "a/label_ids", "--to", "train-ids").exit_code == 0
    assert run(tmp_path / "a/train_ids", "--to", "color").exit_code == 0
    assert run(tmp_path / "a/color", "-o", tmp_path / "b").exit_code == 0
    assert load(tmp_path / "a/train_ids" / NAME) == TRAIN_IDS.tolist()
    assert load(tmp_path / "b" / NAME) == WANTED.tolist()


def test_sub_folders_and_odd_names_are_kept(tmp_path: Path) -> None:
    names = ["zürich/frame 1.png", "東京/深い/marek č.PNG", "a_color.png"]
    for name in names:
        save(tmp_path / "my color" / name, COLORS)
    save(tmp_path / "my color/.hidden.png", COLORS)
    result = run(tmp_path / "my color", "--out", tmp_path / "out put")
    assert result.exit_code == 0, result.output
    written = sorted(str(p.relative_to(tmp_path / "out put")) for p in tmp_path.glob("out*/**/*.*"))
    assert written == sorted(["zürich/frame 1.png", "東京/深い/marek č.png", "a_color.png"])
    assert "will not find a_color.png and 2 more." in result.stderr


def test_names_begin_with_the_frame(tmp_path: Path) -> None:
    for name in ("pred_bad-honnef_000001_000019_color.png", "ulm_000002_000019.png"):
        save(tmp_path / "color" / name, COLORS)
    result = run(tmp_path / "color")
    assert result.exit_code == 0
    assert "Note" not in result.stderr
    assert sorted(p.name for p in (tmp_path / "label_ids").iterdir()) == [
        "bad-honnef_000001_000019_color.png",
        "ulm_000002_000019.png",
    ]


def test_files_patterns_and_the_hidden_alias(tmp_path: Path, monkeypatch: object) -> None:
    save(tmp_path / "gt/ulm/a_color.png", COLORS)
    save(tmp_path / "gt/ulm/a_labelIds.png", WANTED)
    monkeypatch.chdir(tmp_path)  # type: ignore[attr-defined]
    assert run("gt/*/*_color.png", "-o", "one").exit_code == 0
    assert [p.as_posix() for p in Path("one").rglob("*.png")] == ["one/ulm/a_color.png"]
    assert run("gt/ulm/a_color.png").exit_code == 0
    assert Path("gt/ulm/label_ids/a_color.png").is_file()
    assert run("--img-dir", "one").exit_code == 0
    assert load(Path("label_ids/ulm/a_color.png")) == WANTED.tolist()


def test_an_output_folder_inside_the_source_is_not_read_again(tmp_path: Path) -> None:
    save(tmp_path / NAME, COLORS)
    for _ in range(2):
        result = run(tmp_path, "--out", tmp_path / "ids", "--overwrite", "--json", "-", "-q")
        assert len(json.loads(result.stdout)["written"]) == 1


# ---- errors


def test_unknown_colours_are_named_and_the_rest_is_done(tmp_path: Path) -> None:
    bad = COLORS.copy()
    bad[0, :5] = (1, 2, 3)
    bad[0, 5] = (3, 2, 1)
    save(tmp_path / "color/good.png", COLORS)
    path = save(tmp_path / "color/bad.png", bad)
    (tmp_path / "color/broken.png").write_bytes(b"not a png")
    report = tmp_path / "report.json"
    result = run(tmp_path / "color", "--json", report)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[-2] == "Error: 2 of 3 files failed."
    assert lines[-1].startswith("Hint: JPEG and smooth resizing blend colours at edges")
    problem = f"{path}: 5 pixels of colour (1, 2, 3), unknown to cityscapes, "
    problem += "and 1 other unknown colour."
    assert f"Failed: {problem}" in lines
    assert [p.name for p in (tmp_path / "label_ids").iterdir()] == ["good.png"]
    report_json = json.loads(report.read_text())
    assert [Path(entry["source"]).name for entry in report_json["failed"]] == [
        "bad.png",
        "broken.png",
    ]
    assert report_json["failed"][0]["problem"] == problem
    assert len(report_json["written"]) == 1


def test_unknown_colours_can_be_accepted(tmp_path: Path) -> None:
    save(tmp_path / "in/x.png", np.array([[(1, 2, 3), (128, 64, 128)]], np.uint8))
    assert run(tmp_path / "in", "--unknown", 0).exit_code == 0
    assert load(tmp_path / "label_ids/x.png") == [[0, 7]]
    assert run(tmp_path / "in", "--unknown", 26, "--to", "train-ids").exit_code == 0
    assert load(tmp_path / "train_ids/x.png") == [[13, 0]]
    result = run(tmp_path / "in", "--unknown", 77, "--overwrite")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "Error: 77 is not a label id of cityscapes."


def test_all_failed_is_still_exit_1(tmp_path: Path) -> None:
    path = save(tmp_path / "in/x.png", np.full((2, 2, 3), 9, np.uint8))
    result = run(path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"Error: {path}: 4 pixels of colour (9, 9, 9), unknown to cityscapes.",
        "Hint: JPEG and smooth resizing blend colours at edges: use masks made without them; "
        "or map all unknown colours to one label id with --unknown ID.",
    ]


@pytest.mark.parametrize(
    ("pixels", "source", "problem"),
    [
        (np.array([[0, 77]], np.uint8), "train-ids", "1 pixel of id 77, unknown to cityscapes."),
        (np.array([[7, 255]], np.uint8), "label-ids", "1 pixel of id 255, unknown to cityscapes."),
        (COLORS, "train-ids", "The file holds colours, not ids."),
        (np.array([[26001]], np.uint16), "label-ids", "1 pixel of id 26001, unknown to"),
        (np.array([[9]], np.uint8), "color", "1 pixel of colour (9, 9, 9), unknown to"),
    ],
)
def test_what_does_not_fit_is_an_error(
    tmp_path: Path, pixels: np.ndarray, source: str, problem: str
) -> None:
    path = save(tmp_path / "in/x.png", pixels)
    result = run(path, "--from", source)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path}: {problem}")
    assert result.stderr.splitlines()[1].startswith("Hint: ")


def test_nothing_to_do_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = run(tmp_path / "in")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == (
        f"Error: No masks found: searched {tmp_path / 'in'}, at any depth, for *.png."
    )
    assert run(tmp_path / "none").stderr.splitlines() == [
        f"Error: {tmp_path / 'none'} does not exist.",
        "Hint: check the spelling of the path.",
    ]
    result = run(tmp_path / "in/*.png")
    assert result.exit_code == 2 and "for *.png among" in result.stderr
    result = run()
    assert result.exit_code == 2 and "Missing argument 'SOURCE...'" in result.stderr


def test_existing_outputs_are_replaced_with_consent_only(tmp_path: Path) -> None:
    save(tmp_path / "color/a.png", COLORS)
    save(tmp_path / "color/b.png", COLORS)
    kept = save(tmp_path / "label_ids/b.png", np.zeros((1, 1), np.uint8))
    result = run(tmp_path / "color")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"Error: 1 of 2 outputs exist already, such as {kept}; nothing was written.",
        "Hint: replace them with --overwrite, or name another folder with --out.",
    ]
    assert load(kept) == [[0]] and not (tmp_path / "label_ids/a.png").exists()
    assert run(tmp_path / "color", "--overwrite").exit_code == 0
    assert load(kept) == WANTED.tolist()


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    path = save(tmp_path / "label_ids/a.png", WANTED)
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "label_ids")
    for out in (tmp_path / "label_ids", tmp_path / "link"):
        result = run(tmp_path / "label_ids", "--overwrite", "--out", out)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"Error: {out / 'a.png'} is an input")
    assert run(tmp_path / "label_ids", "--overwrite").exit_code == 2
    assert path.read_bytes() == before


def test_an_output_folder_that_cannot_be_made_is_exit_1(tmp_path: Path) -> None:
    save(tmp_path / "in/x.png", COLORS)
    (tmp_path / "out").write_text("a file")
    result = run(tmp_path / "in", "--out", tmp_path / "out/deeper")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


# ---- options


def test_any_number_of_threads_gives_the_same_in_order(tmp_path: Path) -> None:
    for number in range(25):
        save(tmp_path / f"color/{number:02}.png", np.roll(COLORS, number, axis=1))
    reports = [
        json.loads(run(tmp_path / "color", "-j", j, "-o", tmp_path / j, "--json", "-").stdout)
        for j in ("1", "3")
    ]
    for j, report in zip(("1", "3"), reports, strict=True):
        outputs = [entry["output"] for entry in report["written"]]
        assert outputs == [str(tmp_path / j / f"{n:02}.png") for n in range(25)]
    for number in range(25):
        first, second = (tmp_path / j / f"{number:02}.png" for j in "13")
        assert first.read_bytes() == second.read_bytes()


def test_stdout_is_kept_for_what_was_asked(tmp_path: Path) -> None:
    save(tmp_path / "color" / NAME, COLORS)
    result = run(tmp_path / "color")
    assert result.stdout == ""
    assert result.stderr.startswith("1 mask of label-ids in ")
    assert "Next: dseg eval --pred-dir" in result.stderr


def test_the_alias_and_the_help() -> None:
    result = CliRunner().invoke(main, ["transfer", "--help"])
    assert result.exit_code == 0
    assert "dseg transfer-labels results/color" in result.stdout
    assert "--img-dir" not in result.stdout


def test_instance_files_do_not_disturb_the_detection(tmp_path: Path) -> None:
    save(tmp_path / "in/a_instanceIds.png", np.array([[7, 26001]], np.uint16))
    save(tmp_path / "in/a_trainIds.png", np.array([[0, 255]], np.uint8))
    result = run(tmp_path / "in")
    assert result.exit_code == 1
    assert "Files of one channel were read as train-ids." in result.stderr
    assert "such ids are of instances" in result.stderr
    assert load(tmp_path / "label_ids/a_trainIds.png") == [[7, 0]]


def test_grey_files_among_colours_are_colours(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    road = np.full((4, 6, 3), (128, 64, 128), np.uint8)
    pole = np.zeros((4, 6), np.uint8)
    pole[:, 3] = 153
    for name, pixels in {"a": road, "b": np.zeros((4, 6), np.uint8), "c": pole}.items():
        save(tmp_path / f"color/{name}.png", pixels)
    assert run("color", "-o", "ids").exit_code == 0
    found = {name: np.unique(load(Path(f"ids/{name}.png"))).tolist() for name in "abc"}
    assert found == {"a": [7], "b": [0], "c": [0, 17]}


def test_grey_files_in_a_folder_of_their_own_are_ids(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "all/color/a.png", np.full((4, 6, 3), (128, 64, 128), np.uint8))
    save(tmp_path / "all/ids/a.png", np.full((4, 6), 33, np.uint8))
    result = run("all", "-o", "out")
    assert result.exit_code == 0
    assert np.unique(load(Path("out/ids/a.png"))).tolist() == [33]
    assert "read as label-ids" in result.stderr


def test_lossy_masks_are_refused_unless_accepted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("masks").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (16, 16), 26).save(f"masks/{name}", "JPEG" if name == "a.png" else "PNG")
    result = run("masks", "--to", "train-ids", "-o", "out")
    assert result.exit_code == 1
    assert "a.png is JPEG, which changes values" in result.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["b.png"]
    words = ("--accept-lossy", "--overwrite")
    assert run("masks", "--to", "train-ids", "-o", "out", *words).exit_code == 0


def test_ids_in_three_equal_channels_are_ids_if_named_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "ids/a.png", np.full((4, 6, 3), 26, np.uint8))
    words = ("--from", "label-ids", "--to", "train-ids", "-o", "out")
    assert run("ids", *words).exit_code == 0
    assert np.unique(load(Path("out/a.png"))).tolist() == [13]
