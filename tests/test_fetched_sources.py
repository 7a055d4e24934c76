"""``dseg infer`` on archives, addresses, lists of files and standard input."""

from __future__ import annotations

import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_runs import contents, refused, save_noise, written

from dseg.sources import archives, urls
from dseg.sources.stdin import find_suffix

IDS = ("--save", "label_ids")
EXPECTED: dict[str, bytes] = {}


@pytest.fixture
def images(infer) -> dict[str, bytes]:
    """The label ids of the two images of ``img``, which are the same in all tests, by name."""
    if not EXPECTED:
        infer("img", "-o", "expected", *IDS)
        EXPECTED.update(contents("expected/label_ids"))
    return EXPECTED


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder of temporary folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


# Archives


def pack_zip(path: str, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)


def pack_tar(path: str, mode: str, members: dict[str, bytes]) -> None:
    with tarfile.open(path, mode) as packed:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))


def members() -> dict[str, bytes]:
    a, b = Path("img/a.png").read_bytes(), Path("img/sub/b.jpg").read_bytes()
    return {"readme.txt": b"x", "a.png": a, "sub/b.jpg": b, "__MACOSX/a.png": b"", ".c.png": b""}


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar", "photos.TGZ", "photos.tar.xz"])
def test_an_archive_is_labelled_as_its_folder_is(infer, images, temporary, name):
    if name.endswith("zip"):
        pack_zip(name, members())
    else:
        pack_tar(name, {"photos.tar": "w", "photos.TGZ": "w:gz"}.get(name, "w:xz"), members())
    result = infer(name, *IDS)
    assert result.exit_code == 0, result.output
    assert contents("dseg-out/label_ids") == images
    assert list(temporary.iterdir()) == []


def test_names_that_lead_out_of_an_archive_and_links_are_left_out(infer, tmp_path):
    data = Path("img/a.png").read_bytes()
    names = ("../out.png", "/tmp/dseg-out.png", "x/../../y.png", "..\\w.png", "c:/v.png", "ok.png")
    pack_zip("evil.zip", dict.fromkeys(names, data))
    result = infer("evil.zip", *IDS)
    assert result.exit_code == 1
    problem = "5 files are links or have names that would lead out of it (first: ../out.png)."
    assert f"failed: evil.zip: not unpacked: {problem}\nHint: unpack it with a" in result.stderr
    assert written("dseg-out/label_ids") == ["ok.png"]
    with tarfile.open("evil.tar", "w") as packed:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "img/a.png")
        packed.addfile(link)
        member = tarfile.TarInfo("../../out.png")
        member.size = len(data)
        packed.addfile(member, io.BytesIO(data))
    problem = "No image in evil.tar can be unpacked: 2 files are links or have names that would"
    refused(infer("evil.tar", *IDS), 2, problem, "name the folder")
    assert not list(tmp_path.parent.glob("*.png")) and not list(tmp_path.glob("*.png"))


def test_a_name_that_an_archive_has_twice_is_noted(infer, images):
    with tarfile.open("twice.tar", "w") as packed:
        for data in (b"old", Path("img/a.png").read_bytes()):
            member = tarfile.TarInfo("a.png")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    result = infer("twice.tar", *IDS)
    assert result.exit_code == 0
    note = "note: twice.tar: 1 file replaced by a later one of the same name (first: a.png)."
    assert note in result.stderr
    assert contents("dseg-out/label_ids") == {"a.png": images["a.png"]}


def test_what_can_be_read_of_a_damaged_archive_is_labelled(infer, images, temporary):
    pack_tar("photos.tar", "w", members())
    data = Path("photos.tar").read_bytes()
    end = data.index(b"sub/b.jpg") + 512 + 100  # in the middle of the second image
    Path("half.tar").write_bytes(data[:end])
    result = infer("half.tar", *IDS)
    assert result.exit_code == 1
    assert "failed: half.tar is damaged: " in result.stderr
    assert "half.tar/sub/b.jpg cannot be decoded" in result.stderr
    assert str(temporary) not in result.output
    assert contents("dseg-out/label_ids") == {"a.png": images["a.png"]}
    Path("text.zip").write_text("no archive")
    refused(infer("text.zip"), 2, "text.zip is damaged: File is not a zip file.")


def test_archives_are_limited_in_size(infer, monkeypatch):
    pack_zip("photos.zip", members())
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    refused(infer("photos.zip"), 2, "photos.zip holds a file of more than", "unpack it")


def test_a_failed_archive_does_not_stop_the_others(infer, images):
    Path("text.zip").write_text("no archive")
    result = infer("text.zip", "img", *IDS)
    assert result.exit_code == 1
    assert "2 labelled, 0 already there, 1 failed" in result.stderr
    assert contents("dseg-out/label_ids") == images


# Addresses


class Handler(BaseHTTPRequestHandler):
    """Serves the files of the working directory and some faults."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/page":
            self.answer(b"<html>", "text/html; charset=utf-8")
        elif path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/img/a.png")
            self.end_headers()
        elif path == "/file.png":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif path == "/short.png":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b"\x89PNG")
        elif (file := Path(path[1:])).is_file():
            self.answer(file.read_bytes(), "application/octet-stream")
        else:
            self.send_error(404, "Not Found")

    def answer(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(infer) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_images_of_addresses_are_labelled(infer, images, server, temporary):
    result = infer(f"{server}/img/a.png?size=large", f"{server}/img/sub/b.jpg", *IDS)
    assert result.exit_code == 0, result.output
    ours = contents("dseg-out/label_ids")
    assert ours == {"a.png": images["a.png"], "b.png": images["sub/b.png"]}
    assert list(temporary.iterdir()) == []
    pack_zip("photos.zip", members())
    assert infer(f"{server}/photos.zip", "-o", "packed", *IDS).exit_code == 0
    assert contents("packed/label_ids") == images
    assert infer(f"{server}/moved.png", "-o", "moved", *IDS).exit_code == 0
    assert written("moved/label_ids") == ["moved.png"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/none.png", "/none.png cannot be had: 404 Not Found."),
        ("/page", "/page is a web page, not an image."),
        ("/short.png", "/short.png ended after 4 of 5,000 bytes."),
        ("/file.png", "/file.png cannot be had: "),
    ],
)
def test_an_address_without_an_image_is_refused(infer, server, path, problem):
    refused(infer(f"{server}{path}"), 2, f"{server}{problem}")


def test_an_address_that_fails_does_not_stop_the_others(infer, server, temporary):
    Path("img/empty.png").write_bytes(b"")
    name = server.removeprefix("http://")
    addresses = [f"{server}/{file}" for file in ("img/a.png", "gone.png", "img/empty.png")]
    result = infer(*addresses, f"http://user:secret@{name}/gone.png", *IDS)
    assert result.exit_code == 1
    assert "1 labelled, 0 already there, 3 failed" in result.stderr
    assert f"failed: {server}/gone.png cannot be had: 404" in result.stderr
    assert "failed: 127.0.0.1/empty.png cannot be decoded: the file is empty." in result.stderr
    assert "secret" not in result.output and str(temporary) not in result.output


def test_a_download_is_limited_in_size(infer, server, monkeypatch):
    monkeypatch.setattr(urls, "MOST_BYTES", 1000)
    refused(infer(f"{server}/img/a.png"), 2, "/img/a.png has more than 0 MB.")


def test_a_server_that_does_not_answer_is_named(infer):
    refused(infer("http://127.0.0.1:1/a.png"), 2, "http://127.0.0.1:1/a.png cannot be had: ")


# Lists


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("list.txt", "img/a.png\n\n# a comment\nimg/sub/b.jpg\n"),
        ("img/list.lst", "a.png\tmasks/a.png\r\nsub/b.jpg masks/b.png\r\n"),
        ("list.csv", 'path,label\n"img/a.png",x\nimg/sub/b.jpg,y\n'),
        ("img/list.csv", "\ufeffFile;Mask\na.png;1\nsub/b.jpg;2\n"),
        ("list", "img/a.png\nimg/sub/b.jpg"),
    ],
)
def test_a_list_names_images(infer, images, file, text):
    Path(file).write_text(text, encoding="utf-8")
    source = file if "." in file else f"@{file}"
    result = infer(source, *IDS)
    assert result.exit_code == 0, result.output
    ours = contents("dseg-out/label_ids")
    assert ours == {"a.png": images["a.png"], "b.png": images["sub/b.png"]}


def test_a_list_of_names_with_spaces_and_addresses(infer, server):
    save_noise("img/with space.png", 20, 30)
    Path("list.txt").write_text(f"img/with space.png\n{server}/img/a.png\n")
    assert infer("list.txt", *IDS).exit_code == 0
    assert written("dseg-out/label_ids") == ["a.png", "with space.png"]


def test_a_list_without_an_entry_is_refused(infer):
    for name, text in (("empty.lst", ""), ("comments.txt", "# photos\n\n"), ("a.csv", "file\n")):
        Path(name).write_text(text)
        refused(infer(name), 2, f"{name} names no image.", "one path or address on each line")
        refused(infer(name, "img"), 2, f"{name} names no image.")
    assert not Path("dseg-out").exists()


def test_a_list_that_is_wrong_is_refused_with_its_line(infer):
    Path("list.txt").write_text("img/a.png\nimg/x.png\n")
    refused(infer("list.txt"), 2, "list.txt, line 2: img/x.png does not exist.", "relative to")
    refused(infer("@none.txt"), 2, "none.txt cannot be read: No such file or directory.")
    Path("list.txt").write_bytes(Path("img/a.png").read_bytes())
    refused(infer("list.txt"), 2, "list.txt is not a list of paths.")


# Standard input


def test_an_image_on_standard_input_is_labelled(infer, images):
    result = infer("-", *IDS, input=Path("img/a.png").read_bytes())
    assert result.exit_code == 0, result.output
    (first,) = contents("dseg-out/label_ids")
    assert re.fullmatch(r"stdin-[0-9a-f]{8}\.png", first)
    assert contents("dseg-out/label_ids") == {first: images["a.png"]}
    assert "1 already there" in infer("-", *IDS, input=Path("img/a.png").read_bytes()).stderr
    assert "1 labelled" in infer("-", *IDS, input=Path("img/sub/b.jpg").read_bytes()).stderr
    assert len(contents("dseg-out/label_ids")) == 2


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", ".webp"),
        (b"BM\x36\x00\x00\x00\x00\x00\x00\x00\x36", ".bmp"),
        (b"MM\0*\0\0\0\x08", ".tif"),
        (b"\0\0\0\x1cftypavif", ".avif"),
        (b"\0\0\0\x20ftypisom", ".mp4"),
        (b"BMW.jpg\n", ""),
        (b"BMW.jpg\0img/a.png\0", ""),
        (b"", ""),
    ],
)
def test_images_are_told_from_lists(data, suffix):
    assert find_suffix(data) == suffix
