from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.sinks.json_lines import JsonLinesSink
from stream_results import make_result


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_result_and_gap_is_a_line_that_is_written_at_once(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    sink = JsonLinesSink(path)
    sink.write(make_result(index=3))
    sink.gap("door", "refused")
    sink.write(make_result(index=4, objects=()))
    assert [(line["kind"], line.get("index")) for line in read(path)] == [("result", 3), ("gap", None), ("result", 4)]
    sink.close()


def test_an_existing_file_is_continued_without_its_partial_last_line(tmp_path):
    path = tmp_path / "results.jsonl"
    sink = JsonLinesSink(path)
    sink.write(make_result())
    sink.close()
    complete = path.read_bytes()
    zeros = bytes(300)  # as a power failure may leave
    partial_lines = [complete[:size] for size in (0, 1, 6, -1)]
    partial_lines += [complete[:-1] + b"x" * 200_000, zeros, complete[:6] + zeros]
    for partial in partial_lines:
        path.write_bytes(complete + partial)
        sink = JsonLinesSink(path)
        assert path.read_bytes() == complete
        sink.write(make_result())
        sink.close()
        assert len(read(path)) == 2
    path.write_bytes(complete[:-1] + b"x" * 200_000)
    JsonLinesSink(path).close()
    assert path.read_bytes() == b""


FOREIGN = [b'{"precious": 1}', b'{"version":1,"files":[]}', b"a\nb", b'{"version":1,"kind":""}\n{"a": 1}', bytes(9)]


@pytest.mark.parametrize("precious", FOREIGN)
def test_a_file_that_does_not_end_with_a_result_is_refused_and_left_unchanged(tmp_path, precious):
    path = tmp_path / "precious.json"
    path.write_bytes(precious)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FGDError, match=r"precious\.json does not end with a line of results.*another file") as error:
        JsonLinesSink(path)
    assert path.read_bytes() == precious and "\n" not in str(error.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_large_file_is_rotated_and_five_backups_are_kept(tmp_path):
    path = tmp_path / "results.jsonl"
    sink = JsonLinesSink(path, rotate_mb=1000 / (1 << 20))
    for index in range(60):
        sink.write(make_result(index=index))
    sink.close()
    names = ["results.jsonl", *(f"results.jsonl.{number}" for number in range(1, 6))]
    assert sorted(file.name for file in tmp_path.glob("results*")) == names
    indices = [line["index"] for name in reversed(names) for line in read(tmp_path / name)]
    assert indices == list(range(indices[0], 60)) and indices[0] > 0
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)


def test_lines_can_be_written_to_standard_output(capfd):
    sink = JsonLinesSink("-")
    sink.write(make_result(index=5))
    sink.close()
    print("still open")
    lines = capfd.readouterr().out.splitlines()
    assert json.loads(lines[0])["index"] == 5 and lines[1] == "still open"


def test_a_file_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FGDError, match=r"cannot write .*results.jsonl: File exists: .*; name another file"):
        JsonLinesSink(tmp_path / "file" / "results.jsonl")


def test_a_full_disk_leaves_complete_lines(tmp_path):
    path = tmp_path / "results.jsonl"
    code = f"""if True:
        import resource
        from fgd_yolo.streams.sinks import SinkQueue
        from fgd_yolo.streams.sinks.json_lines import JsonLinesSink
        from stream_results import make_result
        queue = SinkQueue(JsonLinesSink({str(path)!r}), frames=64)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        for index in range(20):
            queue.put(make_result(index=index))
        queue.close(30)
        print(queue.snapshot()["written"], queue.snapshot()["dropped"]["error"])
    """
    tests = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, **paths(tests)}
    )
    written, failed = map(int, done.stdout.split())
    assert [line["index"] for line in read(path)] == list(range(written)) and written + failed == 20 and failed
    assert path.stat().st_size < 2000
    assert done.stderr.count("File too large (counted") == 1
    assert f"{failed} of 20 results were lost: File too large" in done.stderr


def test_a_killed_process_leaves_complete_lines(tmp_path):
    path = tmp_path / "results.jsonl"
    code = f"""if True:
        from fgd_yolo.streams.sinks.json_lines import JsonLinesSink
        from stream_results import make_result
        sink = JsonLinesSink({str(path)!r})
        for index in range(10_000_000):
            sink.write(make_result(index=index))
            index == 200 and print("going", flush=True)
    """
    tests = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, **paths(tests)})
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    assert path.read_bytes().endswith(b"\n")
    assert [line["index"] for line in read(path)] == list(range(len(read(path)))) and len(read(path)) > 200


def paths(tests: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{tests.parent}:{tests}"}
