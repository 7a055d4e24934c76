"""infer and eval in two processes: the same files as from one, each message once, one end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_runs import contents, run, save_noise, written
from PIL import Image
from ranks import exit_code, own_words, torchrun

FRAMES = [f"ulm_00000{number}_000019" for number in range(5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Five images, of which the second and third are broken, and five scored frames."""
    place = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        for seed, name in enumerate("abcde"):
            save_noise(f"img/{name}.png", 40 + seed, 48, seed)
        Path("img/b.png").write_text("no image")
        Path("img/c.png").write_text("")
        for seed, frame in enumerate(FRAMES):
            save_frame(frame, seed)
        yield place


def save_frame(frame: str, seed: int) -> None:
    """Write ground truth with instances of many sizes, and a prediction that errs."""
    rng = np.random.default_rng(seed)
    instances = np.full((24, 32), 7, np.uint16)
    for number in range(12):
        label_id = rng.choice([24, 25, 26, 33])
        top, left = rng.integers(0, 20, 2)
        instances[top : top + rng.integers(2, 9), left : left + rng.integers(2, 9)] = (
            label_id * 1000 + number
        )
    truth = np.where(instances >= 1000, instances // 1000, instances).astype(np.uint8)
    wrong = rng.integers(0, 34, truth.shape, np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.2, wrong, truth).astype(np.uint8)
    Path("gt").mkdir(exist_ok=True)
    Path("pred").mkdir(exist_ok=True)
    Image.fromarray(truth).save(f"gt/{frame}_gtFine_labelIds.png")
    Image.fromarray(instances).save(f"gt/{frame}_gtFine_instanceIds.png")
    Image.fromarray(prediction).save(f"pred/{frame}.png")


def dseg(*words: object) -> subprocess.CompletedProcess[str]:
    return torchrun("-m", "dseg", *words)


def test_two_processes_write_the_masks_of_one_and_report_them_once(
    folder: Path, checkpoint: Path
) -> None:
    given = ["infer", "img", "-w", checkpoint, "--device", "cpu", "--save", "label_ids,overlay"]
    one = run(*given, "-o", "one", "--json", "one.json")
    two = dseg(*given, "-o", "two", "--json", "two.json")

    assert (one.exit_code, exit_code(two)) == (1, 1)
    assert written("two") == [
        "dseg-run.json",
        *(f"{kind}/{name}.png" for kind in ("label_ids", "overlay") for name in "ade"),
        "overview.jpg",
    ]
    assert contents("two") == contents("one")

    first, second = (
        json.loads(Path("one.json").read_text()),
        json.loads(Path("two.json").read_text()),
    )
    assert [failure["file"] for failure in second["failed"]] == ["img/b.png", "img/c.png"]
    assert (second["done"], second["skipped"], second["processes"]) == (3, 0, 2)
    assert first["processes"] == 1
    for own in ("out", "seconds", "stage_seconds", "processes"):
        del first[own], second[own]
    assert first == second

    words = own_words(two)
    hints = [line for line in words if line.startswith("Hint: ")]
    words = [line for line in words if line not in hints]
    assert len(hints) == len(set(hints)) > 0  # once for each kind of failure
    assert [line.split(":")[0] for line in words[:2]] == ["failed", "failed"]
    assert "img/b.png" in words[0] and "img/c.png" in words[1]
    assert words[2].startswith("3 labelled, 0 already there, 2 failed in ")
    assert words[2].endswith(
        " on cpu (PyTorch, float32, 2 processes). Protocol: plain (whole image once). Results: two"
    )
    assert words[-1] == "Look first at: two/overview.jpg"
    advice = [line for line in words[3:-1] if line.startswith("Faster on this CPU: ")]
    assert len(words) == 4 + len(advice) and len(advice) <= 1


@pytest.mark.slow
def test_a_list_of_images_is_read_by_one_process_and_a_run_goes_on(
    folder: Path, checkpoint: Path
) -> None:
    sources = ["img/a.png", "img/d.png", "img/e.png"]
    given = ["multiscale-infer", "-w", checkpoint, "--device", "cpu", "--scales", "1", "-q"]
    assert run(*given, "img/d.png", "-o", "on").exit_code == 0
    assert run(*given, *sources, "-o", "whole").exit_code == 0
    before = Path("on/label_ids/d.png").stat().st_mtime_ns

    result = torchrun(
        *("-m", "dseg", *given, "-", "-o", "on", "--json", "-"),
        stdin="\n".join(sources),
    )

    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["done"], facts["skipped"], facts["failed"]) == (2, 1, [])
    assert contents("on") == contents("whole")
    assert Path("on/label_ids/d.png").stat().st_mtime_ns == before


def test_two_processes_score_to_the_last_bit_as_one(folder: Path) -> None:
    given = ["eval", "--pred-dir", "pred", "--gt-dir", "gt", "--per-image"]
    one = run(*given, "--json", "one-scores.json", "--csv", "one.csv")
    two = dseg(*given, "--json", "two-scores.json", "--csv", "two.csv")

    assert (one.exit_code, two.returncode) == (0, 0), two.stderr
    assert Path("two-scores.json").read_bytes() == Path("one-scores.json").read_bytes()
    assert Path("two.csv").read_bytes() == Path("one.csv").read_bytes()
    scores = json.loads(Path("two-scores.json").read_text())
    assert scores["numImages"] == 5
    assert [Path(image["prediction"]).stem for image in scores["images"]] == FRAMES
    assert two.stdout == one.stdout
    assert [line.split(" in ")[0] for line in own_words(two)] == ["Scored"]


@pytest.mark.slow
def test_a_score_below_what_was_asked_for_is_told_once_after_the_table(folder: Path) -> None:
    for frame in FRAMES:
        for kind, source in (
            ("gt", f"gt/{frame}_gtFine_labelIds.png"),
            ("pred", f"pred/{frame}.png"),
        ):
            target = Path("plain", kind, f"{frame}.png")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(source).read_bytes())
    given = ["eval", "--pred-dir", "plain/pred", "--gt-dir", "plain/gt", "--num-classes", 34]
    given += ["-q", "--fail-under", 99, "--csv", "plain-{}.csv"]
    one = run(*(str(word).format("one") for word in given))
    two = dseg(*(str(word).format("two") for word in given))

    assert (one.exit_code, exit_code(two)) == (4, 4)
    assert two.stdout == one.stdout != ""
    assert own_words(two) == one.stderr.splitlines()
    assert Path("plain-two.csv").read_bytes() == Path("plain-one.csv").read_bytes()


@pytest.mark.slow
def test_a_wrong_mask_of_one_share_ends_all_and_is_told_once(folder: Path) -> None:
    good = Path(f"pred/{FRAMES[3]}.png").read_bytes()
    Image.fromarray(np.full((24, 32), 99, np.uint8)).save(f"pred/{FRAMES[3]}.png")
    result = dseg("eval", "--pred-dir", "pred", "--gt-dir", "gt", "-q", "--json", "none.json")
    Path(f"pred/{FRAMES[3]}.png").write_bytes(good)

    assert exit_code(result) == 2
    problem, hint = own_words(result)
    assert problem.startswith(f"Error: pred/{FRAMES[3]}.png holds id 99 at 768 pixels")
    assert hint.startswith("Hint: ")
    assert not Path("none.json").exists()


def test_an_unusable_option_ends_all_and_is_told_once(folder: Path) -> None:
    result = dseg("infer", "none", "-o", "never")
    assert exit_code(result) == 2
    problem, hint = own_words(result)
    assert problem.startswith("Error: ") and "none" in problem
    assert hint.startswith("Hint: ")
    assert not Path("never").exists()


@pytest.mark.slow
def test_the_official_engine_scores_in_one_process(folder: Path) -> None:
    given = ["eval", "--pred-dir", "pred", "--gt-dir", "gt", "--official"]
    one = run(*given, "--json", "one-official.json")
    two = dseg(*given, "--json", "two-official.json")
    assert (one.exit_code, two.returncode) == (0, 0), two.stderr
    assert Path("two-official.json").read_bytes() == Path("one-official.json").read_bytes()
    assert own_words(two)[0] == (
        "The official engine scores 5 images in one process; this takes a while."
    )


@pytest.mark.slow
def test_results_of_another_run_stop_all_before_any_image(folder: Path, checkpoint: Path) -> None:
    given = ["-w", checkpoint, "--device", "cpu", "-q", "-o", "other"]
    assert run("infer", "img/a.png", *given).exit_code == 0
    before = contents("other")
    result = dseg("multiscale-infer", "img", *given)
    assert exit_code(result) == 2
    assert own_words(result)[0].startswith("Error: other holds results of another run (scales:")
    assert len(own_words(result)) == 2
    assert contents("other") == before
