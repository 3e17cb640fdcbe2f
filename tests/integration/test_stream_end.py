"""How a run of the stream command ends: its table, its errors, and the process itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.cli.stream_command import run_command
from fgd_yolo.runtime.detector import OnnxDetector
from onnx_files import save_detector
from signals import default_signals
from stream_parts import write_video
from tests.cameras.processes import fault_proxy, mjpeg_server
from tests.cameras.pytest_helpers import until

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "deploy" / "stream.py"
FGD_YOLO = "import sys; from fgd_yolo.cli.main import main; sys.exit(main())"


def model() -> list[str]:
    return ["--model", str(save_detector(Path("best.onnx").absolute()))]


def test_the_table_shows_why_a_camera_was_down(capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"rtsp://admin:geheim@127.0.0.1:{free.getsockname()[1]}/cam"
    assert run_command([*model(), "--source", f"gate={address}", "yard=test://", "--seconds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["gate", "DOWN"], ["yard", "UP"]]
    assert lines[3] == "  gate DOWN: connection refused"


def test_a_detector_that_fails_is_an_error_after_the_table(monkeypatch, capsys):
    def fail(self, batch):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(OnnxDetector, "infer", fail)
    write_video(Path("clip.mp4"), frames=130)
    assert run_command([*model(), "--source", "clip.mp4"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[:2] == ["clip", "UP"] and "error" in captured.out
    assert captured.err.splitlines()[-1].startswith("error: the detector failed on 100 frames in a row: out of memory")


def test_a_sink_that_failed_to_the_end_is_an_error_after_the_table(capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    write_video(Path("clip.mp4"), frames=2)
    words = ["--source", "clip.mp4", "--json", "out.jsonl", "--webhook", f"http://127.0.0.1:{port}/x?token=geheim"]
    assert run_command([*model(), *words]) == 1
    captured = capsys.readouterr()
    why = f"webhook 127.0.0.1:{port}: 127.0.0.1:{port} cannot be reached (ConnectError), 3 times"
    assert captured.err.splitlines()[-1] == f"error: results are missing in {why}"
    assert f"  webhook 127.0.0.1:{port} failed: " in captured.out and "geheim" not in captured.out + captured.err
    assert len(Path("out.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("command", [[str(SCRIPT)], ["-c", FGD_YOLO, "stream"]], ids=["script", "fgd-yolo"])
def test_the_process_ends_with_its_exit_code_while_a_camera_is_still_read(command):
    with mjpeg_server("--fps", 15) as camera, fault_proxy(camera) as proxy:
        words = [*model(), "--source", f"cam=http://127.0.0.1:{proxy.port}/cam", "--json", "out.jsonl"]
        process = subprocess.Popen(
            [sys.executable, *command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=default_signals,
        )
        assert until(lambda: process.stderr.readline() == "cam: UP\n", 30)
        assert until(lambda: Path("out.jsonl").stat().st_size)
        proxy.send("stall")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[1].split()[:2] == ["cam", "UP"]
    assert "JSON lines out.jsonl" in out  # the last line of the table


LEAVE = """
import atexit, sys, threading, time
from fgd_yolo.streams.reader import Connection
from fgd_yolo.cli.stream_command import end_process

atexit.register(print, "shut down")
reading = Connection("cam", lambda: time.sleep(float(sys.argv[1])), print, print, 1, threading.Condition())
reading.start()
print("done")
sys.exit(end_process(3))
"""


@pytest.mark.parametrize(("seconds", "printed"), [(0.2, ["done", "shut down"]), (60, ["done"])])
def test_only_a_reader_that_does_not_return_makes_the_process_end_at_once(seconds, printed):
    command = [sys.executable, "-c", LEAVE, str(seconds)]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, env=buffered)
    assert (done.returncode, done.stdout.splitlines()) == (3, printed)
