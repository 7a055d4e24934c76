"""Tables at the widths of terminals: no line is too long, no number cut, words are not split."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_runs import run
from data_trees import make_camvid, save_image, save_mask

from dseg.cli.tables import count_fitting, share_width

WIDTHS = (60, 80, 100)
SENTENCE = re.compile("(Start with|Source|WARNING|FAULT|  Hint|[a-zA-Z ]+: )")  # wrapped elsewhere
COMMANDS = {
    "models": ("models",),
    "models of a word": ("models", "pspnet"),
    "download": ("download",),
    "recipes": ("recipes",),
    "one recipe": ("recipes", "dabnet_camvid"),
    "check-data": ("check-data", "--dataset", "camvid", "--data-dir", "camvid", "--weights", "log"),
    "init": ("init", "own", "--overwrite"),
    "eval": ("eval", "--pred-dir", "camvid/valannot", "--gt-dir", "camvid/valannot"),
    "bench": (
        *("bench", "--model", "espnet_c", "--size", "64x64", "--seconds", "0.01", "--samples", "3"),
        *("--warmup", "1", "--runtime", "torch", "--device", "cpu"),
        *("--json", "bench.json", "--resume"),  # measured once
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tables")
    make_camvid(root / "camvid")
    for name in "ab":
        save_image(root / f"own/images/{name}.jpg")
        save_mask(root / f"own/masks/{name}.png", 0, 1, 200)
    return root


def output_of(name: str) -> str:
    words = list(COMMANDS[name])
    if name == "eval":
        words += ["--label-space", "camvid"]
    result = run(*words)
    assert result.exit_code in (0, 1), result.output
    return result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_table_fits_and_no_number_is_cut(name, place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    whole = output_of(name)
    numbers = set(re.findall(r"(?<!\S)[-+~]?\d[\d.,]*%?(?!\S)", whole))
    for width in WIDTHS:
        monkeypatch.setattr("dseg.cli.tables.table_room", lambda width=width: width)
        text = output_of(name)
        lines = [line for line in text.splitlines() if not SENTENCE.match(line)]
        assert max(map(len, lines)) <= width, text
        assert "\u2026" not in text
        found = set(re.findall(r"(?<!\S)[-+~]?\d[\d.,]*%?(?!\S)", text))
        assert found - {str(width)} <= numbers, found - numbers


def test_the_last_columns_are_left_out_if_there_is_no_room(place, monkeypatch) -> None:
    monkeypatch.setattr("dseg.cli.tables.table_room", lambda: 60)
    text = run("recipes").stdout
    assert "lr" not in text.splitlines()[0]
    assert "No room for: lr, loss (a wider terminal, or --json)." in text


def test_texts_are_wrapped_between_words() -> None:
    titles, rows = ["name", "what it is"], [["a", "some longer words"], ["bb", "12.5"]]
    assert share_width(titles, rows, 400) == [4, 17]
    assert share_width(titles, rows, 14) == [4, 8]
    assert share_width(titles, rows, 5) == [4, 6]  # the longest word
    assert [count_fitting(titles, rows, room) for room in (12, 11, 3)] == [2, 1, 1]
