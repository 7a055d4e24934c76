"""Weights from the network, served on this machine: whole, resumed, refused, and explained."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import numpy as np
import pytest
from authors_masks import draw_image
from cli_runs import contents, pixels, refused, run
from file_server import FileServer, serving
from PIL import Image

import dseg
from dseg.checkpoints import find_weights, sha256
from dseg.downloads import Display, fetching, transfer

AUTHORS = Path(__file__).parent / "golden" / "authors"
DABNET = AUTHORS / "dabnet_paddle" / "best.params"
ESPNET = AUTHORS / "espnet" / "espnet_p_2_q_8.pth"
DABNET_PATH = "/WenmuZhou/DABNet_Paddle/b551085009faf07b351df98ecb625e1f82ddd50e/best.params"
ESPNET_PATH = (
    "/sacmehta/ESPNet/afe71c38edaee3514ca44e0adcafdf36109bf437/pretrained/decoder/"
    "espnet_p_2_q_8.pth"
)
BLOCK = 65_536  # bytes of an unfinished block are received again
BY_HAND = (
    "get espnet_p_2_q_8.pth from github.com/sacmehta/ESPNet "
    "(raw.githubusercontent.com" + ESPNET_PATH + ") and put it at "
    "weights/espnet_p_2_q_8.pth, or name your file with --weights."
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A mirror with the files of DABNet and ESPNet; a working directory with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("DSEG_OFFLINE", "DSEG_WEIGHTS", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching, "PAUSES_S", (0.0,))
    Image.fromarray(draw_image(96, 128)).save("photo.png")
    with serving() as found:
        found.files = {DABNET_PATH: DABNET.read_bytes(), ESPNET_PATH: ESPNET.read_bytes()}
        monkeypatch.setenv("DSEG_MIRROR", found.url)
        yield found


def cached() -> list[str]:
    return sorted(str(p.relative_to("cache")) for p in Path("cache").rglob("*") if p.is_file())


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def infer(*words: object) -> Any:
    return run("infer", "photo.png", "--save", "train_ids", "--device", "cpu", *words)


def test_a_network_is_downloaded_on_first_use(server: FileServer) -> None:
    result = infer("--model", "dabnet", "-o", "first")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == (
        "Downloading dabnet.params: 3.1 MB from github.com/WenmuZhou/DABNet_Paddle, licence MIT, "
        f"trained on Cityscapes (images for non-commercial use only). Mirror: {server.url}."
    )
    assert (cached(), server.paths) == (["dabnet.params"], [DABNET_PATH])
    named = infer("-w", DABNET, "-o", "named")
    assert named.exit_code == 0
    assert contents("first/train_ids") == contents("named/train_ids")
    again = infer("--model", "DABNet", "-o", "again")
    assert "Downloading" not in again.stderr
    assert server.paths == [DABNET_PATH]


def test_espnet_works_from_an_empty_cache(server: FileServer) -> None:
    assert infer("--model", "espnet", "-o", "out").exit_code == 0
    assert (cached(), server.paths) == (["espnet_p_2_q_8.pth"], [ESPNET_PATH])
    record = json.loads(Path("out/dseg-run.json").read_text())
    assert "343b0e77e8545d36113c4f3efbf1ee349256f25c97c9f9d5ddefe45f2f49763e" in str(record)
    assert np.unique(pixels("out/train_ids/photo.png")).size > 1


def test_a_network_is_downloaded_in_python(server: FileServer) -> None:
    notes: list[str] = []
    model = dseg.load_model("espnet", on_note=notes.append)
    assert model.card.num_outputs == 20
    assert notes[0].startswith("Downloading espnet_p_2_q_8.pth: 1.5 MB from github.com/sacmehta")


def test_a_file_in_weights_needs_no_download(server: FileServer) -> None:
    Path("weights").mkdir()
    shutil.copy(ESPNET, "weights/espnet_p_2_q_8.pth")
    assert infer("--model", "espnet").exit_code == 0
    assert server.asked == []


def test_download_prints_the_path_and_checks_what_is_there(server: FileServer) -> None:
    first = run("download", "ESPNet", "-q")
    assert (first.exit_code, first.stdout) == (0, f"{Path.cwd() / 'cache/espnet_p_2_q_8.pth'}\n")
    assert run("download", "espnet").stderr == ""
    Path("cache/espnet_p_2_q_8.pth").write_bytes(b"damaged")
    result = run("download", "espnet", "--json", "-")
    assert "espnet_p_2_q_8.pth is not the published file: replacing it." in result.stderr
    (facts,) = json.loads(result.stdout)
    assert (facts["bytes"], facts["licence"], facts["label_space"]) == (
        1501621,
        "MIT",
        "cityscapes",
    )
    assert (facts["non_commercial_data"], facts["trained_on"]) == (True, ["Cityscapes"])
    assert sha256(Path("cache/espnet_p_2_q_8.pth")) == facts["sha256"]
    assert len(server.asked) == 2


def test_download_can_fill_another_folder(server: FileServer) -> None:
    assert run("download", "dabnet", "-o", "weights").stdout == "weights/dabnet.params\n"
    assert Path("weights/dabnet.params").read_bytes() == DABNET.read_bytes()


def test_the_list_has_each_file_with_its_state(server: FileServer) -> None:
    run("download", "espnet")
    rows = {row["name"]: row for row in json.loads(run("download", "--json", "-").stdout)}
    assert rows["espnet"]["path"] == str(Path.cwd() / "cache/espnet_p_2_q_8.pth")
    assert rows["dabnet"]["path"] is None
    assert rows["dabnet"]["score"] == "Cityscapes val 69.63"
    table = run("download").stdout
    assert "~0.8" in table and "COCO, ImageNet*" in table and "dabnet_bundled" not in table


def test_a_broken_connection_is_resumed(server: FileServer) -> None:
    server.cuts = [10 * BLOCK + 5, 3 * BLOCK]
    assert run("download", "espnet").exit_code == 0
    assert server.starts == [0, 10 * BLOCK, 13 * BLOCK]
    assert server.asked[1][1]["If-Range"] == server.asked[2][1]["If-Range"] != ""
    assert (cached(), sha256(Path("cache/espnet_p_2_q_8.pth"))) == (
        ["espnet_p_2_q_8.pth"],
        sha256(ESPNET),
    )


def test_a_connection_that_stays_broken_is_continued_by_the_next_run(server: FileServer) -> None:
    server.cuts = [2 * BLOCK] * 5
    result = run("download", "espnet")
    problem = "The connection for espnet_p_2_q_8.pth broke several times: it was closed early."
    refused_in_two(result, 3, problem, "run again: the download continues after 0.7 MB. Or get esp")
    assert cached() == [".espnet_p_2_q_8.pth.part", ".espnet_p_2_q_8.pth.part.json"]
    again = infer("--model", "espnet")
    assert again.exit_code == 0
    assert again.stderr.splitlines()[0].endswith(" Continuing after 0.7 MB.")
    assert server.starts == [2 * BLOCK * count for count in range(6)]
    assert cached() == ["espnet_p_2_q_8.pth"]


def refused_in_two(result: Any, code: int, problem: str, hint: str) -> None:
    """Check an error of two lines, after the line that a download begins with."""
    *_, first, second = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (code, "")
    assert first.startswith(f"Error: {problem}"), first
    assert second.startswith(f"Hint: {hint}"), second


def test_a_file_that_changed_meanwhile_is_received_anew(server: FileServer) -> None:
    server.files[ESPNET_PATH] = b"x" * 900_000
    server.cuts = [400_000] * 5
    assert run("download", "espnet").exit_code == 3
    server.files[ESPNET_PATH] = ESPNET.read_bytes()
    server.asked.clear()
    assert run("download", "espnet").exit_code == 0
    assert sha256(Path("cache/espnet_p_2_q_8.pth")) == sha256(ESPNET)


def test_a_server_without_ranges_sends_everything_again(server: FileServer) -> None:
    server.ranges = False
    server.cuts = [10 * BLOCK]
    assert run("download", "espnet").exit_code == 0
    assert server.starts == [0, 10 * BLOCK]
    assert Path("cache/espnet_p_2_q_8.pth").read_bytes() == ESPNET.read_bytes()


def test_a_damaged_part_is_received_anew(server: FileServer) -> None:
    server.cuts = [500_000] * 2 + [0] * 4
    assert run("download", "espnet").exit_code == 3
    part = Path("cache/.espnet_p_2_q_8.pth.part")
    part.write_bytes(b"x" * part.stat().st_size)
    result = run("download", "espnet")
    assert result.exit_code == 0
    assert "The continued file espnet_p_2_q_8.pth is damaged: downloading it anew." in result.stderr
    assert Path("cache/espnet_p_2_q_8.pth").read_bytes() == ESPNET.read_bytes()


def test_a_part_of_another_file_is_not_continued(server: FileServer) -> None:
    Path("cache").mkdir()
    Path("cache/.espnet_p_2_q_8.pth.part").write_bytes(b"x" * 1000)
    Path("cache/.espnet_p_2_q_8.pth.part.json").write_text('{"key": "0123", "validator": ""}')
    assert run("download", "espnet").exit_code == 0
    assert (server.starts, cached()) == ([0], ["espnet_p_2_q_8.pth"])


def test_a_wrong_digest_is_refused_and_the_file_removed(server: FileServer) -> None:
    server.files[ESPNET_PATH] = ESPNET.read_bytes()[:-1] + b"!"
    result = infer("--model", "espnet")
    problem = f"espnet_p_2_q_8.pth from {server.url[7:]} is another file: 1501621 bytes"
    refused_in_two(result, 3, problem, "the download was removed: the server, or something on the")
    assert "expected 343b0e77e8545d36113c4f3efbf1ee349256f25c97c9f9d5ddefe45f2f49763e." in (
        result.stderr
    )
    assert (cached(), Path("dseg-out").exists()) == ([], False)


def test_a_wrong_digest_is_no_reason_for_the_bundled_network(server: FileServer) -> None:
    server.files[DABNET_PATH] = b"another file"
    assert infer("--model", "dabnet").exit_code == 3


def test_a_web_page_is_not_a_file(server: FileServer) -> None:
    server.files[ESPNET_PATH] = b"\n<!DOCTYPE html><title>Log in to the network of this hotel"
    result = run("download", "espnet")
    problem = f"{server.url}{ESPNET_PATH} gives a web page, not the file espnet_p_2_q_8.pth."
    refused_in_two(result, 3, problem, "log in to the network if it asks for that in a browser, or")
    assert cached() == []


def test_a_file_that_is_gone_is_reported(server: FileServer) -> None:
    server.files.clear()
    problem = f"espnet_p_2_q_8.pth is not at {server.url}{ESPNET_PATH}: the server answers 404"
    refused_in_two(run("download", "espnet"), 3, problem, BY_HAND)
    assert cached() == []


def test_a_busy_server_is_asked_several_times(server: FileServer) -> None:
    server.answers[ESPNET_PATH] = (503, {"Retry-After": "0"})
    problem = (
        f"espnet_p_2_q_8.pth cannot be downloaded from {server.url[7:]}: the server answers 503"
    )
    refused_in_two(run("download", "espnet"), 3, problem, "run again later, or get espnet_p_2_q_8")
    assert len(server.asked) == 5


def test_without_network_the_error_explains_the_way_by_hand(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    monkeypatch.setenv("DSEG_MIRROR", url)
    result = infer("--model", "espnet")
    problem = (
        f"No weights for espnet in weights, {Path.cwd() / 'cache'}. espnet_p_2_q_8.pth cannot be "
        f"downloaded, no connection to {url[7:]}: Connection refused."
    )
    refused_in_two(
        result, 3, problem, f"check the network and the proxy (HTTPS_PROXY), or {BY_HAND}"
    )


@pytest.mark.parametrize("offline", [True, False])
def test_dabnet_falls_back_to_the_bundled_file_without_network(
    offline: bool, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if offline:
        monkeypatch.setenv("DSEG_OFFLINE", "1")
    else:
        monkeypatch.setenv("DSEG_MIRROR", f"http://127.0.0.1:{unused_port()}")
    result = infer("--model", "dabnet")
    assert result.exit_code == 0
    reason = "DSEG_OFFLINE forbids to download it." if offline else "Connection refused."
    lines = [line for line in result.stderr.splitlines() if "bundled" in line]
    assert len(lines) == 1
    assert lines[0].endswith(
        f"{reason} Using the bundled demo network dabnet (weak: see weights/README.md)."
    )
    assert server.asked == []


def test_offline_nothing_is_asked_for(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSEG_OFFLINE", "1")
    problem = "espnet_p_2_q_8.pth is not here, and DSEG_OFFLINE forbids to download it."
    refused(run("download", "espnet"), 3, problem, f"{BY_HAND} Or unset DSEG_OFFLINE.")
    refused(run("infer", "photo.png", "-w", "hf://a/b/c.pth"), 3, "a/b/c.pth is not here")
    assert server.asked == []


def test_a_mirror_that_is_no_address_is_refused(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mirror in ("mirror", "ftp://mirror", "http://", "http://a:b"):
        monkeypatch.setenv("DSEG_MIRROR", mirror)
        problem = f"The environment variable DSEG_MIRROR is '{mirror}', which is not an address."
        refused(run("download", "espnet"), 2, problem, "unset DSEG_MIRROR")


def test_too_little_space_is_noticed_before_the_download(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    problem = (
        f"There is not enough space in {Path.cwd() / 'cache'}: espnet_p_2_q_8.pth needs 1.5 MB"
    )
    refused_in_two(run("download", "espnet"), 1, problem, "free some space, or name a folder on")
    assert cached() == []


def test_a_disk_that_fills_up_is_reported_and_the_part_removed(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, file: BinaryIO):
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *fault: object) -> None:
            self.file.close()

        def write(self, block: bytes) -> None:
            self.file.write(block[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", **more: (
            Full(whole(path, mode, **more))
            if path.suffix == ".part" and mode == "ab"
            else whole(path, mode, **more)
        ),
    )
    problem = f"There is not enough space in {Path.cwd() / 'cache'} for espnet_p_2_q_8.pth."
    refused_in_two(run("download", "espnet"), 1, problem, "free some space, or name a folder on")
    assert cached() == []


def test_a_cache_that_cannot_be_written_is_reported(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("DSEG_CACHE", "file/cache")
    problem = "file/cache cannot be written: one of its parent folders is a file."
    refused(run("download", "espnet"), 1, problem, "environment variable DSEG_CACHE, or get espnet")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setenv("DSEG_CACHE", "cache")
    monkeypatch.setattr(transfer.Part, "begin", read_only)
    problem = "cache cannot be written: Read-only file system."
    refused_in_two(run("download", "espnet"), 1, problem, "name another folder by the environment")


def test_of_several_processes_one_downloads(server: FileServer) -> None:
    files: list[Path] = []
    notes: list[str] = []
    display = Display(note=notes.append)

    def get() -> None:
        files.append(find_weights("espnet", None, display))

    threads = [Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files == [Path.cwd() / "cache/espnet_p_2_q_8.pth"] * 4
    assert server.paths == [ESPNET_PATH]
    assert cached() == ["espnet_p_2_q_8.pth"]


@pytest.mark.parametrize(
    ("name", "code", "problem", "hint"),
    [
        ("dabnett", 2, "Unknown weights 'dabnett'.", "did you mean dabnet"),
        ("resnet5", 2, "Unknown weights 'resnet5'.", "did you mean resnet50"),
        (
            "bisenetv2",
            3,
            "dseg cannot download the weights of bisenetv2",
            "get model_final_v2_city",
        ),
        ("gald_r50", 3, "The authors published no weights for gald_r50.", "dseg download lists"),
        ("hf://a/b", 2, "hf://a/b is not the address of a file of Hugging", "hf://owner/name/file"),
        ("hf://a/b/../c", 2, "hf://a/b/../c is not the address", "hf://owner/name/file"),
    ],
)
def test_a_name_that_cannot_be_downloaded_is_explained(
    name: str, code: int, problem: str, hint: str, server: FileServer
) -> None:
    refused(run("download", name), code, problem, hint)
    assert server.asked == []


HF_PATH = "/ann/streets/resolve/v1.0/nets/esp.pth"


@pytest.fixture
def hub(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """The server as Hugging Face, which redirects to the content."""
    monkeypatch.delenv("DSEG_MIRROR")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    digest = sha256(ESPNET)
    server.answers[HF_PATH] = (302, {"Location": "/cdn/blob", "X-Linked-ETag": f'"{digest}"'})
    server.files["/cdn/blob"] = ESPNET.read_bytes()
    return server


def test_a_file_of_hugging_face_is_an_argument_of_weights(
    hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.cuts = [10 * BLOCK]
    result = infer("-w", "hf://ann/streets/nets/esp.pth@v1.0")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == (
        f"Downloading ann/streets/nets/esp.pth (v1.0) from {hub.url}; "
        "licence: see https://huggingface.co/ann/streets."
    )
    assert cached() == ["hf/ann/streets/v1.0/nets/esp.pth"]
    assert hub.paths == [HF_PATH, "/cdn/blob"] * 2
    assert hub.starts == [0, 0, 10 * BLOCK, 10 * BLOCK]
    assert hub.asked[0][1]["Authorization"] == "Bearer secret"
    assert run("inspect", "hf://ann/streets/nets/esp.pth@v1.0").exit_code == 0
    assert len(hub.asked) == 4


def test_a_file_of_hugging_face_with_another_digest_is_refused(hub: FileServer) -> None:
    hub.files["/cdn/blob"] = b"another file"
    result = run("download", "hf://ann/streets/nets/esp.pth@v1.0")
    refused_in_two(result, 3, "ann/streets/nets/esp.pth from", "the download was removed")
    assert cached() == []


def test_a_private_file_of_hugging_face_needs_a_token(hub: FileServer) -> None:
    hub.answers["/ann/streets/resolve/main/esp.pth"] = (401, {})
    result = run("download", "hf://ann/streets/esp.pth")
    problem = (
        f"ann/streets/esp.pth is not at {hub.url}/ann/streets/resolve/main/esp.pth: the server"
    )
    refused_in_two(result, 3, problem, "the repository may be private or ask to accept its terms")


def test_the_token_is_not_sent_to_a_mirror(
    hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setenv("DSEG_MIRROR", hub.url)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run("download", "hf://ann/streets/nets/esp.pth@v1.0", "-o", "d").stdout == "d/esp.pth\n"
    assert hub.paths[0] == HF_PATH
    assert "Authorization" not in hub.asked[0][1]


def test_models_has_the_state_of_weights(server: FileServer) -> None:
    def states() -> dict[str, str]:
        rows = json.loads(run("models", "--json").stdout)
        return {row["name"]: row["download"]["state"] for row in rows}

    before = states()
    run("download", "espnet")
    assert (before["espnet"], states()["espnet"]) == ("download", "downloaded")
    assert (before["dabnet"], before["bisenetv2"], before["gald_r50"]) == (
        "download",
        "manual",
        "none",
    )
    assert "download (3.1 MB)" in run("models", "dabnet").stdout


def test_inspect_shows_the_terms_of_a_published_file() -> None:
    lines = run("inspect", DABNET).stdout.splitlines()
    for line in (
        "published_as: dabnet",
        "source: github.com/WenmuZhou/DABNet_Paddle",
        "licence: MIT",
        "score: Cityscapes val 69.63",
        "data_terms: Cityscapes: images for non-commercial use only",
        "non_commercial_data: yes",
    ):
        assert line in lines
    facts = json.loads(run("inspect", DABNET, "--json", "-").stdout)
    assert facts["non_commercial_data"] is True


@pytest.mark.parametrize(
    ("token", "endpoint", "problem"),
    [
        ("s\u00e4cret", "", "HF_TOKEN holds characters that no token has"),
        ("a\nb", "", "HF_TOKEN holds characters that no token has"),
        ("", "hub", "HF_ENDPOINT is 'hub', which is not an address"),
    ],
)
def test_wrong_settings_of_hugging_face_are_refused(
    token: str, endpoint: str, problem: str, hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    refused(run("download", "hf://ann/streets/esp.pth"), 2, problem, "unset HF_")
    assert hub.asked == []


def test_a_wrong_proxy_is_reported(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("DSEG_MIRROR", "http://weights.invalid")
    for proxy in (f"http://127.0.0.1:{unused_port()}", "http://a b", "socks5://127.0.0.1:1"):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        result = run("download", "espnet")
        assert result.exit_code == 3
        assert "no connection to weights.invalid: " in result.stderr
        assert len(result.stderr.splitlines()) == 3
