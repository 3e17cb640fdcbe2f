"""The stream command as its user sees it: a run and its table, signals, and errors before anything starts."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from disks import small_disk
from fgd_yolo.cli.stream_command import run_command
from fgd_yolo.frames import gather_frames
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.streams import run as run_module
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.run import _wait
from fgd_yolo.streams.stream_options import read_options
from fgd_yolo.streams.web.latest_frames import LatestFrames
from onnx_files import save_detector
from signals import default_signals, ignoring
from stream_parts import write_video
from tests.cameras.processes import mjpeg_server

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "deploy" / "stream.py"


@pytest.fixture
def model() -> Path:
    return save_detector(Path("best.onnx").absolute())


def start(*words: object, prepare=default_signals) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, preexec_fn=prepare, **pipes)


def finish(process: subprocess.Popen) -> tuple[str, str]:
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def test_streams_above_the_limit_of_megapixels_are_down_and_the_reason_is_reported(model):
    sources = ["one=test://?size=640x480", "two=test://?size=640x480&seed=1"]
    process = start("--model", model, "--source", *sources, "--max-megapixels", 0.4, "--seconds", 2)
    _, err = finish(process)
    assert "UP" in err
    reason = (
        "the streams would have 0.6144 megapixels together, above the limit of 0.4; remove a stream or raise --max-me"
    )
    assert reason in err


def test_a_run_of_given_length_writes_lines_and_ends_with_a_table(model):
    process = start("--model", model, "--source", "gate=test://?fps=20", "--json", "out.jsonl", "--seconds", 2)
    out, err = finish(process)
    assert process.returncode == 0, err
    assert "gate: UP" in err
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    results = [line for line in lines if line["kind"] == "result"]
    gate = next(line.split() for line in out.splitlines() if line.startswith("gate"))
    assert gate[1] == "UP" and len(results) == int(gate[3]) > 10
    assert all(line["stream"] == "gate" for line in lines)


def test_a_run_prints_and_writes_nothing_of_an_address_but_host_and_port(model):
    rests = ("/cam/hunter2a?ticket=hunter2b", "/0/hunter2c:hunter2d/main", "/cam?login=hunter2e:hunter2f#hunter2g")
    with mjpeg_server() as server, mjpeg_server() as gone:
        gone.stop()
        live = [f"http://hunter2h:hunter2i@127.0.0.1:{server.port}{rest}" for rest in rests]
        down = f"rtsp://hunter2j:hunter2k@127.0.0.1:{gone.port}/hunter2l"
        words = ["--json", "out.jsonl", "--save", "recordings", "--web", "127.0.0.1:0", "--seconds", 4]
        process = start("--model", model, "--source", *live, down, *words)
        first_lines = []
        for line in process.stderr:
            first_lines.append(line)
            if line.startswith("page: "):
                break
        page = first_lines[-1].split()[1]
        until = time.monotonic() + 30
        while time.monotonic() < until and not Path("out.jsonl").stat().st_size:
            time.sleep(0.05)
        responses = [
            urllib.request.urlopen(f"{page}{path}", timeout=5).read().decode() for path in ("stats", "metrics")
        ]
        out, err = finish(process)
    assert process.returncode == 0, err
    assert f"127.0.0.1-{server.port}" in responses[0] and f"rtsp://127.0.0.1:{gone.port}" in responses[0]
    assert list(Path("recordings").rglob("*.mp4"))
    written = [path.read_text() for path in Path().rglob("*.jsonl")] + [str(path) for path in Path().rglob("*")]
    assert f'"stream":"127.0.0.1-{server.port}"' in "".join(written)
    assert "hunter2" not in "".join([out, *first_lines, err, *responses, *written])


@pytest.mark.parametrize(
    ("number", "prepare"),
    [
        (signal.SIGTERM, default_signals),
        (signal.SIGINT, default_signals),
        (signal.SIGHUP, default_signals),
        (signal.SIGTERM, ignoring(signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_ends_a_run_cleanly(model, number, prepare):
    process = start("--model", model, "--source", "test://", "--json", "out.jsonl", prepare=prepare)
    until = time.monotonic() + 30
    while time.monotonic() < until and not (Path("out.jsonl").is_file() and Path("out.jsonl").stat().st_size):
        time.sleep(0.05)
    if prepare is not default_signals:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
    process.send_signal(number)
    process.send_signal(number)  # a terminal and a shell both send one
    out, err = finish(process)
    assert process.returncode == 0, err
    assert "test" in out and "inferred" in out
    assert [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def test_the_page_is_there_while_it_runs_and_the_port_is_free_afterwards(model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    process = start("--model", model, "--source", "test://", "--web", f"127.0.0.1:{port}")
    until = time.monotonic() + 30
    ready = b""
    while time.monotonic() < until and b'"ready":true' not in ready:
        try:
            ready = urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).read()
        except OSError:
            time.sleep(0.1)
    process.terminate()
    _, err = finish(process)
    assert process.returncode == 0, err
    assert b'"ready":true' in ready
    assert f"page: http://127.0.0.1:{port}/" in err
    socket.create_server(("127.0.0.1", port)).close()


def test_a_file_ends_the_run_by_itself_and_every_frame_counts(model, capsys):
    write_video(Path("clip.mp4"), frames=12)
    words = ["--model", str(model), "--source", "clip.mp4", "--json", "out.jsonl", "--save", "saved", "--track"]
    assert run_command(words) == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("clip"))
    assert row[1:6] == ["ENDED", "12", "12", "12", "0"]
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines if line["kind"] == "result"] == list(range(12))
    (saved,) = Path("saved").rglob("*.mp4")
    with av.open(str(saved)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 12


@pytest.fixture
def views() -> str:
    """The words of a stream of twelve images that differ, of which each is to be collected."""
    Path("images").mkdir()
    for number in range(12):
        spots = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(f"images/{number}.png", cv2.resize(spots, (640, 480), interpolation=cv2.INTER_CUBIC))
    return "--source gate=images --collect-per-hour 1000000"


def test_a_run_collects_frames_and_counts_them_in_its_table(model, capsys, views):
    assert run_command(["--model", str(model), *views.split(), "--collect", "frames"]) == 0
    out = capsys.readouterr().out
    jpegs, descriptions = ({path.stem for path in Path("frames/gate").glob(f"*.{end}")} for end in ("jpg", "json"))
    assert jpegs == descriptions and len(jpegs) == 12
    assert "  collect frames kept: 12 ordinary" in out
    assert {file.resolve().stem for file in gather_frames(["frames"]).files} == jpegs


def test_a_full_disk_ends_collecting_with_one_line_and_nothing_else(model, capsys, views):
    with small_disk(Path("disk").absolute(), 100) as disk:
        words = ["--model", str(model), *views.split(), "--collect", str(disk / "frames"), "--json", "out.jsonl"]
        assert run_command(words) == 1
        kept = len(list(disk.rglob("*.jpg")))
    out, err = capsys.readouterr()
    row = next(line.split() for line in out.splitlines() if line.startswith("gate"))
    results = [line for line in map(json.loads, Path("out.jsonl").read_text().splitlines()) if line["kind"] == "result"]
    assert len(results) == int(row[4]) == 12 > kept > 0
    said = [line for line in err.splitlines() if "collect" in line]
    assert len(said) == 2 and said[0].startswith(
        f"sink collect {disk / 'frames'}: collecting stops, the streams go on: "
    )
    assert said[1].startswith("error: results are missing in collect") and "No space left on device" in said[1]


@pytest.mark.parametrize(
    ("words", "complaint", "code"),
    [
        ("--source test://", "model is missing", 2),
        ("--model best.onnx", "missing --source", 2),
        ("--model best.onnx --source nowhere.mp4", "nowhere.mp4", 2),
        ("--model best.onnx --source ftp://camera/1", "ftp", 2),
        ("--model best.onnx --source gate=test:// gate=test://", "stream 'gate' is given more than once", 2),
        ("--model best.onnx --source test:// --policy newest", "unknown policy 'newest'", 2),
        ("--model best.onnx --source test:// --classes sheep", "class 'sheep' is unknown", 2),
        ("--model best.onnx --source test:// --web nonsense", "is not HOST:PORT", 2),
        ("--model best.onnx --source test:// --web 0.0.0.0:0", "needs a token", 2),
        ("--model best.onnx --source test:// --seconds 0", "seconds", 2),
        ("--model best.onnx --source test:// --webhook nonsense", "", 2),
        ("--model nowhere.onnx --source test://", "nowhere.onnx does not exist", 1),
        ("--config streams.yaml", "streams.yaml is not valid YAML", 2),
        ("--config missing.yaml", "missing.yaml cannot be read", 2),
    ],
)
def test_an_invalid_run_is_an_error_of_one_line_before_anything_starts(model, capsys, words, complaint, code):
    Path("streams.yaml").write_text("model: [")
    assert run_command([*words.split(), "--json", "out.jsonl"]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert complaint in lines[-1] and lines[-1].startswith("error: ")
    assert [line for line in lines[:-1] if "runs on" not in line] == []


@pytest.mark.parametrize("words", ["nowhere.mp4", "test:// --policy newest", "test://x"])
def test_an_invalid_stream_is_refused_before_the_model_is_loaded_and_a_folder_created(model, capsys, words):
    assert (
        run_command(["--model", str(model), "--source", *words.split(), "--save", "saved", "--json", "out.jsonl"]) == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert not Path("saved").exists() and not Path("out.jsonl").exists()


@pytest.mark.parametrize("name", ["best.onnx", "clip.mp4", "link.jsonl"])
def test_lines_are_not_written_to_an_input(model, capsys, name):
    write_video(Path("clip.mp4"), frames=2)
    with Path("clip.mp4").open("ab") as end:
        end.write(b"\n")  # as a file of JSON lines ends
    Path("link.jsonl").symlink_to("clip.mp4")
    before = Path(name).read_bytes()
    assert run_command(["--model", str(model), "--source", "gate=clip.mp4", "--json", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: --json {name} is an input of this run: choose another file"
    assert Path(name).read_bytes() == before


def test_an_error_half_way_leaves_no_sink_open(model):
    before = set(threading.enumerate())
    words = ["--model", str(model), "--source", "test://", "--mqtt", "mqtt://127.0.0.1:1", "--classes", "sheep"]
    assert run_command(words) == 2
    assert set(threading.enumerate()) <= before


def test_a_class_that_the_model_lacks_is_refused_without_any_sink_too(model, capsys):
    assert run_command(["--model", str(model), "--source", "test://", "--classes", "sheep"]) == 2
    assert "class 'sheep' is unknown" in capsys.readouterr().err.splitlines()[-1]


def test_the_chosen_classes_are_all_that_the_page_the_ids_and_the_sinks_see(model, monkeypatch):
    seen = []
    monkeypatch.setattr(run_module, "_latest_frames", lambda: Watcher(seen))
    write_video(Path("clip.mp4"), frames=3)
    words = ["--model", str(model), "--source", "clip.mp4", "--json", "out.jsonl", "--track", "--web", "127.0.0.1:0"]
    for chosen, objects in (("block", 1), ("disc", 0)):
        assert run_command([*words, "--seconds", "1", "--classes", chosen]) == 0
        assert [(len(result.detections), len(result.detections.tracker_id)) for result in seen] == [
            (objects, objects)
        ] * 3
        lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
        assert [len(line["objects"]) for line in lines if line["kind"] == "result"] == [objects] * 3
        seen.clear(), Path("out.jsonl").unlink()


class Watcher(LatestFrames):
    """The observer of the web page, which also keeps its results."""

    def __init__(self, seen):
        super().__init__()
        self._seen = seen

    def __call__(self, result):
        self._seen.append(result)
        super().__call__(result)


def test_standard_output_has_nothing_but_lines(model):
    out, err = finish(start("--model", model, "--source", "test://", "--json", "-", "--seconds", 1))
    assert all(json.loads(line)["version"] for line in out.splitlines())
    assert "inferred" in err


def test_the_run_ends_when_its_standard_output_is_closed(model):
    process = start("--model", model, "--source", "test://", "--json", "-", "--seconds", 50)
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 0, err
    row = next(line.split() for line in err.splitlines() if line.startswith("test "))
    assert int(row[2]) < 300  # of the 750 in 50 s


def test_waiting_never_holds_the_lock_that_a_signal_needs(model):
    class Stop(threading.Event):
        def wait(self, timeout=None):
            raise AssertionError("a signal that came now would wait for itself")

    write_video(Path("clip.mp4"), frames=2)
    options = read_options(
        {"model": model, "web": "127.0.0.1:0", "seconds": 1, "streams": {"clip": {"source": "clip.mp4"}}}
    )
    with Pipeline(OnnxDetector(model)) as pipeline:
        pipeline.add("clip.mp4")
        _wait(pipeline, Stop(), options)
        assert pipeline.stats()["streams"]["clip"]["inferred"] == 2


def test_a_port_in_use_is_named_before_the_model_is_opened(model, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert run_command(["--model", str(model), "--source", "test://", "--web", f"127.0.0.1:{port}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port}" in line and "in use" in line


COUNTING = {"task": "detect", "stride": "32", "imgsz": "[64, 64]", "end2end": "False", "names": "['1', '2', 'cell']"}


@pytest.mark.parametrize(("word", "count"), [("id:1", 1), ("name:2", 1), ("id:0", 0), ("name:1", 0), ("cell", 0)])
@pytest.mark.parametrize("in_file", [False, True])
def test_only_objects_of_the_chosen_class_are_kept(capsys, word, count, in_file):
    """The model always finds one object of class 1, whose name is "2"."""
    save_detector(Path("best.onnx"), COUNTING)
    write_video(Path("clip.mp4"), frames=2)
    Path("streams.yaml").write_text(f"classes: ['{word}']\n")
    chosen = ["--config", "streams.yaml"] if in_file else ["--classes", word]
    assert run_command(["--model", "best.onnx", "--source", "clip.mp4", "--json", "out.jsonl", *chosen]) == 0
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [len(line["objects"]) for line in lines if line["kind"] == "result"] == [count, count]


@pytest.mark.parametrize("in_file", [False, True])
def test_an_ambiguous_class_starts_nothing(capsys, in_file):
    save_detector(Path("best.onnx"), COUNTING)
    Path("streams.yaml").write_text("classes: [1]\n")
    chosen = ["--config", "streams.yaml"] if in_file else ["--classes", "1"]
    assert run_command(["--model", "best.onnx", "--source", "test://", "--json", "out.jsonl", *chosen]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "'1' is ambiguous" in line and "id:1" in line and "name:1" in line and len(line) <= 300
    assert not Path("out.jsonl").exists()


def test_the_table_of_one_image_has_no_rate(model, capsys):
    write_video(Path("clip.mp4"), frames=1)
    assert run_command(["--model", str(model), "--source", "one=clip.mp4"]) == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("one "))
    assert row[-1] == "-"
