"""``dseg infer`` on videos, webcams and streams."""

from __future__ import annotations

import json
import signal
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cli_runs import pixels, refused, save_noise, written
from PIL import Image

import dseg
from dseg.errors import DsegError
from dseg.predict.live import newest, stopped_by_interrupt
from dseg.video import Frame, Sampling, describe_time, is_live, open_video, written_video

av = pytest.importorskip("av")
HEIGHT, WIDTH = 48, 80


def draw(number: int) -> np.ndarray:
    """Return a frame that is dark on the left and whose right half becomes brighter."""
    frame = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    frame[:, WIDTH // 2 :] = min(60 + 15 * number, 255)
    return frame


def save_video(path, count=10, rate=10, times=None, codec="libx264", sound=False) -> None:
    """Write a video of ``count`` frames at even intervals, or at these times in seconds."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = 2
        audio = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            at = number / rate if times is None else times[number]
            frame.pts, frame.time_base = round(at * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.rate = 44100
            container.mux([*audio.encode(silence), *audio.encode(None)])


def read(path, **sampling) -> tuple[list[float], list[np.ndarray]]:
    with open_video(path, Sampling(**sampling)) as (_, frames):
        found = list(frames)
    return [frame.seconds for frame in found], [frame.pixels for frame in found]


def test_a_video_gives_a_video_of_overlays_and_is_done_once(infer):
    save_video("street.mp4")
    result = infer("street.mp4")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert lines[0].startswith("10 frames of 1 video labelled, 0 already there, 0 failed in ")
    assert lines[1:] == ["Look first at: dseg-out/video/street.mp4"]
    assert written() == ["dseg-run.json", "video/street.json", "video/street.mp4"]
    times, frames = read("dseg-out/video/street.mp4")
    assert times == pytest.approx([n / 10 for n in range(10)], abs=1e-3)
    assert frames[0].shape == (HEIGHT, WIDTH, 3)  # too narrow for a legend
    with av.open("dseg-out/video/street.mp4") as container:
        assert container.streams.video[0].codec_context.name in ("h264", "mpeg4")
    before = Path("dseg-out/video/street.mp4").stat().st_mtime_ns
    assert "0 labelled, 1 already there" in infer("street.mp4").stderr
    assert Path("dseg-out/video/street.mp4").stat().st_mtime_ns == before
    Path("dseg-out/video/street.mp4").unlink()
    assert "10 frames of 1 video labelled" in infer("street.mp4").stderr
    save_video("street.mp4", count=3)  # another video of that name
    assert "3 frames of 1 video labelled" in infer("street.mp4").stderr


def test_results_of_frames_are_named_by_time_and_those_of_the_frame_as_an_image(infer):
    save_video("in/street.mkv", count=7)
    save = "label_ids,overlay,areas,video"
    result = infer("in", "--save", save, "--every", 3, "--side-by-side", "--json", "-")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["done"], facts["videos"], facts["frames"]) == (0, 1, 3)
    assert result.stderr.endswith("Look first at: dseg-out/video/street.mp4\n")
    names = ["00-00-00.000", "00-00-00.300", "00-00-00.600"]
    assert written("dseg-out/label_ids") == [f"street/{name}.png" for name in names]
    times, frames = read("in/street.mkv")
    assert times == pytest.approx([n / 10 for n in range(7)], abs=2e-3)
    Image.fromarray(frames[3]).save("frame.png")
    infer("frame.png", "-o", "image", "--save", "label_ids,overlay", "--side-by-side")
    for kind in ("label_ids", "overlay"):
        ours = pixels(f"dseg-out/{kind}/street/00-00-00.300.png")
        image = pixels(f"image/{kind}/frame.png")[: len(ours)]
        np.testing.assert_array_equal(ours[:HEIGHT], image[:HEIGHT])
    assert read("dseg-out/video/street.mp4")[0] == pytest.approx([0, 0.3, 0.6], abs=2e-3)
    ids = infer("in", "--save", "label_ids,overlay", "--every", 3, "-o", "ids")
    assert ids.stderr.endswith("Look first at: ids/overlay/street\n")
    again = infer("in", "--save", save, "--every", 2, "--side-by-side")
    assert "4 frames of 1 video labelled" in again.stderr
    rows = Path("dseg-out/areas.csv").read_text().splitlines()[1:]
    times = ["00-00-00.000", "00-00-00.200", "00-00-00.400", "00-00-00.600"]
    assert [row.split(",")[0] for row in rows] == [f"street/{time}.png" for time in times]


def test_in_python_a_folder_is_labelled_with_its_videos(infer):
    save_video("img/sub/clip.mp4", count=3)
    predictor = dseg.load(device="cpu")
    done = predictor.predict_folder("img", "out")
    assert (done.done, done.videos, done.frames) == (2, 1, 3)
    assert read("out/video/sub/clip.mp4")[0] == pytest.approx([0, 0.1, 0.2], abs=2e-3)
    assert predictor.predict_folder("img", "out").skipped == 3
    done = predictor.predict_folder(
        "img/sub", "ids", kinds=["label_ids"], sampling=Sampling(every=2)
    )
    assert (done.done, done.frames) == (1, 2)
    names = ["b.png", "clip/00-00-00.000.png", "clip/00-00-00.200.png"]
    assert written("ids/label_ids") == names
    with pytest.raises(DsegError, match="kind video is for videos"):
        predictor.predict_folder("img/sub", "new", kinds=["video"])


def test_a_predictor_of_images_refuses_a_video():
    with pytest.raises(DsegError, match=r"street.MP4 is a video\..*\n.*predict_folder"):
        dseg.load(quiet=True)("street.MP4")


def test_images_and_videos_of_a_folder_and_their_kinds(infer):
    save_video("img/sub/clip.mp4", count=2)
    result = infer("img")
    assert "2 images and 2 frames of 1 video labelled" in result.stderr
    assert "Look first at: dseg-out/overview.jpg\nLook also at: dseg-out/video" in result.stderr
    assert [name for name in written() if "clip" in name] == [
        "video/sub/clip.json",
        "video/sub/clip.mp4",
    ]
    problem = "The kind video is for videos, but not only videos are named (img"
    refused(infer("img", "--save", "video"), 2, problem, "add a kind for images")
    assert "0 labelled, 3 already there" in infer("img").stderr
    assert infer("img", "--overwrite", "--tile", "32").exit_code == 0


def test_frames_keep_their_times(infer):
    times = [0, 0.1, 0.5, 1.5, 1.6]
    save_video("vfr.mp4", count=5, times=times)
    assert infer("vfr.mp4").exit_code == 0
    assert read("dseg-out/video/vfr.mp4")[0] == pytest.approx(times, abs=2e-3)
    assert read("vfr.mp4", seconds=1.0)[0] == pytest.approx(times[:3], abs=2e-3)
    assert read("vfr.mp4", rate=2.0)[0] == pytest.approx([0, 0.5, 1.5], abs=2e-3)


def test_a_video_that_a_telephone_has_rotated_is_read_upright(infer):
    save_video("turned.mp4", count=2)
    data = bytearray(Path("turned.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version, times and id, layer and volume
    one = 0x10000
    assert int.from_bytes(data[at : at + 4], "big") == one
    matrix = (0, one, 0, -one, 0, 0, HEIGHT * one, 0, 0x40000000)  # a quarter turn clockwise
    for index, value in enumerate(matrix):
        data[at + 4 * index : at + 4 * index + 4] = value.to_bytes(4, "big", signed=True)
    Path("turned.mp4").write_bytes(data)
    _, frames = read("turned.mp4")
    assert frames[0].shape == (WIDTH, HEIGHT, 3)
    assert frames[0][:30].mean() < 30 and frames[0][50:].mean() > 50  # left is now at the top
    assert infer("turned.mp4", "--save", "label_ids").exit_code == 0
    assert pixels("dseg-out/label_ids/turned/00-00-00.000.png").shape == (WIDTH, HEIGHT)


def test_what_can_be_read_of_a_broken_video_is_kept(infer):
    save_video("whole.mkv", count=60)
    data = Path("whole.mkv").read_bytes()
    Path("broken.mkv").write_bytes(data[: len(data) // 2])
    Path("text.mp4").write_text("no video")
    result = infer("broken.mkv", "text.mp4")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "failed: broken.mkv is damaged: " in result.stderr
    assert "failed: text.mp4 cannot be read as a video: " in result.stderr
    assert written() == ["dseg-run.json", "video/broken.mp4"]
    assert 10 < len(read("dseg-out/video/broken.mp4")[0]) < 60
    assert "frames of 1 video labelled" in infer("broken.mkv").stderr  # not complete: again


def test_frames_that_cannot_be_decoded_are_counted_and_the_others_kept(infer):
    save_video("holes.mp4", count=10)
    with av.open("holes.mp4") as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(Path("holes.mp4").read_bytes())
    for at, size in packets[5:7]:
        data[at : at + size] = b"\xff" * size
    Path("holes.mp4").write_bytes(data)
    result = infer("holes.mp4", "--save", "label_ids")
    assert result.exit_code == 1
    assert "failed: holes.mp4 is damaged: " in result.stderr
    assert "of its packets cannot be decoded" in result.stderr
    assert 6 <= len(written("dseg-out/label_ids")) < 10


def test_a_run_that_is_stopped_is_not_taken_for_a_complete_one(infer, monkeypatch):
    save_video("street.mp4", count=3)
    assert infer("street.mp4").exit_code == 0

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dseg.predict.Predictor.begin", stop)
        assert infer("street.mp4", "--every", 2).exit_code == 130
    assert written() == ["dseg-run.json", "video/street.mp4"]  # the earlier one, whole
    assert "2 frames of 1 video labelled" in infer("street.mp4", "--every", 2).stderr


def test_sound_is_named_as_left_out(infer):
    save_video("loud.mp4", count=2, sound=True)
    assert "note: loud.mp4: its sound is not copied." in infer("loud.mp4").stderr


def test_without_pyav_the_way_to_frames_is_named(infer, monkeypatch):
    monkeypatch.setattr("dseg.video.has_library", lambda: False)
    Path("street.mp4").write_bytes(b"")
    problem = "street.mp4 is a video, and PyAV, which reads videos, is not installed."
    result = infer("street.mp4")
    refused(result, 2, problem, "pip install 'dseg[video]'")
    assert "ffmpeg -i VIDEO -vf fps=5 frames/%06d.png" in result.stderr
    Path("street.mp4").rename("img/street.mp4")
    assert "1 .mp4 (videos are read with: pip install" in infer("img").stderr


def test_a_video_with_too_many_pixels_is_refused(infer):
    save_video("large.mp4", count=1)
    result = infer("large.mp4", "--max-pixels", 1000)
    assert result.exit_code == 1
    assert "large.mp4 has 80x48 pixels, more than 1,000." in result.stderr


def test_frames_with_odd_sides_can_be_written(tmp_path):
    frame = np.arange(35 * 51 * 3, dtype=np.uint32).reshape(35, 51, 3).astype(np.uint8)
    with written_video(tmp_path / "odd.mp4", Fraction(5)) as video:
        video.add(frame, 0.0)
        video.add(frame, 0.0)  # the same time twice
    assert read(tmp_path / "odd.mp4")[1][1].shape == (36, 52, 3)
    below_a_file = written_video(tmp_path / "odd.mp4" / "x.mp4", Fraction(5))
    with pytest.raises(DsegError, match="cannot be written"), below_a_file:
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["odd.mp4"]


def test_times_are_names_that_sort():
    names = [describe_time(seconds) for seconds in (0, 59.9996, 61.25, 36000)]
    assert names == ["00-00-00.000", "00-01-00.000", "00-01-01.250", "10-00-00.000"]


# Webcams and streams


def test_a_webcam_is_labelled_until_it_ends_and_keeps_earlier_recordings(infer, monkeypatch):
    save_video("camera.mp4", count=20)
    with monkeypatch.context() as patch:
        patch.setattr("dseg.video.frames.find_input", lambda source: {"file": "camera.mp4"})
        for _ in range(2):
            result = infer("webcam:0", "--seconds", 1)
            assert result.exit_code == 0, result.output
            assert " of 1 video labelled, 0 already there" in result.stderr
    assert written() == ["dseg-run.json", "video/webcam-0-2.mp4", "video/webcam-0.mp4"]
    assert 1 <= len(read("dseg-out/video/webcam-0.mp4")[0]) <= 10


def test_a_stream_that_cannot_be_opened_is_named_without_its_password(infer, monkeypatch):
    def deny(*_, **__):
        raise av.error.ConnectionRefusedError(111, "Connection refused", "x")

    monkeypatch.setattr(av, "open", deny)
    result = infer("rtsp://me:secret@camera.example/1")
    assert result.exit_code == 1
    assert "secret" not in result.output
    assert "rtsp://camera.example/1 cannot be read as a video: Connection refused." in result.stderr


@pytest.mark.parametrize(
    ("source", "live"),
    [("0", True), ("webcam:12", True), ("rtsp://h/p", True), ("RTSPS://h", True), ("a.mp4", False),
     ("webcam:x", False), ("http://h/0", False), ("123", False)],
)  # fmt: skip
def test_sources_that_are_live(source, live):
    assert is_live(source) == live


def test_a_file_named_like_a_webcam_is_that_file(infer):
    save_noise("0.png", 20, 30)
    Path("0.png").rename("0")
    assert "1 labelled" in infer("0", "--save", "label_ids").stderr


def test_only_the_newest_frame_is_taken():
    stop, ended, taken = threading.Event(), threading.Event(), threading.Event()

    def frames():
        for number in range(5):
            yield Frame(draw(number), float(number))
        taken.wait(10)
        yield Frame(draw(5), 5.0)

    with newest(frames(), stop, ended) as found:
        first = next(found)
        taken.set()
        rest = [frame.seconds for frame in found]
    assert first.seconds <= 4 and rest[-1] == 5.0
    assert [first.seconds, *rest] == sorted({first.seconds, *rest})


def test_an_error_of_a_stream_comes_after_its_frames():
    def frames():
        yield Frame(draw(0), 0.0)
        raise DsegError("lost.", hint="again.")

    with newest(frames(), threading.Event(), threading.Event()) as found:
        assert next(found).seconds == 0.0
        with pytest.raises(DsegError, match="lost"):
            next(found)


def test_the_first_ctrl_c_ends_a_stream_and_the_second_interrupts():
    said = []
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_interrupt(lambda: said.append("stopping")) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set() and said == ["stopping"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_kinds_can_be_named_by_several_options(infer):
    save_noise("img/a.png", 16, 16)
    assert infer("img", "--save", "label_ids", "--save", "areas").exit_code == 0
    assert {"areas.csv", "label_ids"} <= {path.name for path in Path("dseg-out").iterdir()}
