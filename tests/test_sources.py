"""Sources of images, and the names of their results."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dseg.errors import DsegError
from dseg.predict.inputs import MANIFEST, find_images


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*sources, **options) -> dict[str, str]:
    """Return the name of each image's results by its path, in the order found."""
    return {str(path): str(name) for path, name in find_images(sources, **options)}


def test_a_folder_is_searched_at_any_depth_in_order(here):
    touch("d/b.png", "d/a/c.jpg", "d/a/z/y/x.tif", "d/notes.txt", "d/png")
    assert found("d") == {"d/a/c.jpg": "a/c", "d/a/z/y/x.tif": "a/z/y/x", "d/b.png": "b"}
    assert list(found("d")) == ["d/a/c.jpg", "d/a/z/y/x.tif", "d/b.png"]


def test_suffixes_count_in_any_case(here):
    touch("d/a.PNG", "d/b.JpG", "d/c.JPEG", "d/d.WebP", "d/e.BMP", "d/f.Tiff", "d/g.GIF")
    assert list(found("d").values()) == ["a", "b", "c", "d", "e", "f"]


def test_only_the_last_suffix_is_taken_off(here):
    touch("d/frame.0001.png", "d/two..png")
    assert found("d") == {"d/frame.0001.png": "frame.0001", "d/two..png": "two."}


def test_hidden_files_and_folders_are_left_out_unless_named(here):
    touch("d/.a.png", "d/.cache/b.png", "d/c.png")
    assert found("d") == {"d/c.png": "c"}
    assert found("d/.a.png", "d/.cache") == {"d/.a.png": ".a", "d/.cache/b.png": "b"}


def test_spaces_and_letters_of_any_script_stay(here):
    touch("d/Straße 1/Zürich 車.png")
    assert found("d") == {"d/Straße 1/Zürich 車.png": "Straße 1/Zürich 車"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_name_that_is_not_utf8_is_found(here):
    name = os.fsdecode(b"d/\xff.png")
    touch(name)
    assert found("d") == {name: "\udcff"}


def test_single_files_are_taken_whatever_their_suffix(here):
    touch("d/a.png", "d/b.gif")
    assert found("d/a.png", "d/b.gif") == {"d/a.png": "a", "d/b.gif": "b"}


def test_a_pattern_keeps_the_tree_below_its_fixed_part(here):
    touch("d/one/a.png", "d/two/b.png", "d/two/c.txt")
    expected = {"d/one/a.png": "one/a", "d/two/b.png": "two/b"}
    assert found("d/*/*.*") == expected
    assert found("d/**/*.png") == expected
    assert list(found(f"{here}/d/t*/*.png").values()) == ["two/b"]
    assert found("d/one/[ab].png") == {"d/one/a.png": "a"}


def test_a_pattern_of_folders_stands_for_what_is_in_them(here):
    touch("d/one/a.png", "d/two/b/c.png")
    assert found("d/*") == {"d/one/a.png": "one/a", "d/two/b/c.png": "two/b/c"}
    assert found("d/**") == found("d/*")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(here):
    touch("d/a[1].png", "d/a1.png")
    assert found("d/a[1].png") == {"d/a[1].png": "a[1]"}


def test_links_to_folders_and_files_are_followed(here):
    touch("real/a.png")
    Path("d").mkdir()
    Path("d/link").symlink_to(here / "real")
    Path("d/b.png").symlink_to(here / "real/a.png")
    assert found("d") == {"d/b.png": "b", "d/link/a.png": "link/a"}


def test_loops_of_links_are_not_walked_again(here, monkeypatch):
    touch("d/e/a.png")
    Path("d/e/up").symlink_to(here / "d")
    Path("d/self").symlink_to("self")
    scandir, looked_into = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda place: looked_into.append(place) or scandir(place))
    assert found("d") == {"d/e/a.png": "e/a"}
    assert looked_into == ["d", "d/e", "d/e/up"]


def test_a_dangling_link_is_kept_so_that_it_is_reported_later(here):
    touch("d/a.png")
    Path("d/gone.png").symlink_to(here / "nowhere.png")
    assert list(found("d")) == ["d/a.png", "d/gone.png"]
    assert list(found("d/gone.png")) == ["d/gone.png"]


def test_a_file_named_twice_is_found_once(here):
    touch("d/a.png", "d/e/b.png")
    expected = {"d/a.png": "a", "d/e/b.png": "e/b"}
    assert found("d", "./d/", f"{here}/d", "d/e", "d/e/../a.png", "d/*.png") == expected


def test_the_same_name_in_two_folders_keeps_the_folders(here):
    touch("one/img/a.png", "two/img/a.png", "two/img/b.png")
    assert list(found("one", "two").values()) == ["one/img/a", "two/img/a", "two/img/b"]
    assert list(found("one/img", "two/img").values()) == ["one/img/a", "two/img/a", "two/img/b"]
    assert list(found("one/img/a.png", "two/img/a.png").values()) == ["one/img/a", "two/img/a"]


def test_the_same_stem_keeps_the_suffix_and_the_tree(here):
    touch("d/e/a.jpg", "d/e/a.png", "d/e/b.png")
    assert found("d") == {"d/e/a.jpg": "e/a_jpg", "d/e/a.png": "e/a_png", "d/e/b.png": "e/b"}


def test_no_two_images_have_the_same_name_even_if_one_looks_like_anothers_result(here):
    touch("d/a.jpg", "d/a.png", "d/a_jpg.png", "d/a.JPG", "d/a_jpg_png.png")
    names = list(found("d").values())
    assert names == ["a_JPG", "a_jpg", "a_png", "a_jpg_png", "a_jpg_png_png"]


def test_the_folder_of_results_within_the_images_is_left_out(here):
    touch("d/a.png", "d/out/label_ids/a.png", "d/out/overlay/a.png")
    assert list(found("d", leave_out=Path("d/out"))) == ["d/a.png"]
    assert list(found("d/**/*.png", leave_out=here / "d/out")) == ["d/a.png"]


def test_results_of_earlier_runs_are_left_out_by_their_record(here):
    touch("d/a.png", "d/old/color/a.png", f"d/old/{MANIFEST}", "d/old/b.png", "d/color/c.png")
    assert list(found("d")) == ["d/a.png", "d/color/c.png", "d/old/b.png"]
    assert found("d/**/*.png") == found("d")
    assert list(found("d/old/color/*.png")) == ["d/old/color/a.png"]
    assert list(found("d/old/color")) == ["d/old/color/a.png"]  # named explicitly


def test_images_can_be_beside_the_results(here):
    touch("d/a.png", "color/a.png")
    assert list(found("d", leave_out=Path())) == ["d/a.png"]


@pytest.mark.parametrize("source", ["d", "d/*.png", "d/**"])
def test_nothing_found_names_what_was_looked_for(here, source):
    touch("d/readme.txt")
    with pytest.raises(DsegError) as caught:
        find_images([source])
    assert caught.value.problem == f"No image in '{source}'."
    assert "*.png *.jpg *.jpeg *.webp *.bmp *.tif *.tiff" in caught.value.hint
    assert caught.value.hint.endswith("(any case).")
    assert caught.value.exit_code == 2


def test_a_missing_source_is_refused(here):
    touch("a.png")
    with pytest.raises(DsegError) as caught:
        find_images(["a.png", "nowhere"])
    assert caught.value.problem == "nowhere does not exist."


def test_folders_that_cannot_be_read_are_not_skipped(here, monkeypatch):
    touch("d/a.png", "d/locked/b.png")
    scandir = os.scandir

    def scan(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    assert found("d") == {"d/a.png": "a", "d/locked": "locked"}
    with pytest.raises(DsegError, match="d/locked cannot be read: Permission denied"):
        find_images(["d/locked"])


def test_a_folder_without_permission_is_refused(here, monkeypatch):
    def deny(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", deny)
    with pytest.raises(DsegError, match="secret/d cannot be read: Permission denied"):
        find_images(["secret/d"])
