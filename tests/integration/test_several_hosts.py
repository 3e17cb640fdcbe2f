"""Distillation under torchrun: two processes on one host, and two hosts that share nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fixtures import draw_dataset, narrow_yaml, save_checkpoint
from hosts import Host, two_hosts, why_no_hosts

pytestmark = pytest.mark.slow
OPTIONS = (
    *("--epochs", 3, "--imgsz", 64, "--batch", 8, "--device", "cpu", "--recipe", "lenient.yaml"),
    *("optimizer=AdamW", "lr0=0.001", "warmup_epochs=0", "mosaic=0", "nbs=8", "plots=False"),
)
MODELS = ("--teacher", "models/teacher.pt", "--student", "models/student.pt")


def furnish(folder: Path, data: str, models: bool) -> None:
    """Put data, a recipe and perhaps models into the folder of a host."""
    draw(folder / data, train=16)
    (folder / "lenient.yaml").write_text("checks:\n  min_teacher_map: 0\npictures_every: 0\n")
    if models:
        (folder / "models").mkdir()
        for name, width in (("teacher", 0.125), ("student", 0.0625)):
            model = narrow_yaml(folder / f"models/{name}.yaml", width)
            save_checkpoint(folder / f"models/{name}.pt", model, folder / data / "tiny.yaml")


def draw(folder: Path, train: int) -> None:
    """Draw a data set whose YAML names no folder, so that it is valid wherever a host sees it."""
    file = draw_dataset(folder, train=train, val=4)
    description = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({key: value for key, value in description.items() if key != "path"}))


def finish(*started: subprocess.Popen, timeout_s: float = 200) -> list[tuple[int, str, str]]:
    """Return exit code, stdout and stderr of processes, none of which survives."""
    try:
        ended = [(process, *process.communicate(timeout=timeout_s)) for process in started]
        return [(process.returncode, out, err) for process, out, err in ended]
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def kill_after_the_first_epoch(host: Host, rank: int, run_dir: Path) -> int:
    """Kill a rank of a run with SIGKILL when the first checkpoint is there, and return its process id."""
    end = time.monotonic() + 200
    while not run_dir.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process = host.rank(rank)
    while not (run_dir / "student/weights/last.pt").exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return process


def epochs(run_dir: Path) -> list[int]:
    return [int(row.split(",")[0]) for row in (run_dir / "student/results.csv").read_text().splitlines()[1:]]


def error_lines(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def one_host(tmp_path_factory) -> Host:
    folder = tmp_path_factory.mktemp("one_host")
    furnish(folder, "data", models=True)
    return Host("here", "127.0.0.1", folder, folder)


def test_two_processes_distil_and_torchrun_goes_on_where_a_killed_one_left_the_run(one_host):
    run_dir = one_host.folder / "runs/distill/run"
    launch = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    process = one_host.torchrun(launch, [*MODELS, "--data", "data/tiny.yaml", "name=run", *OPTIONS])
    kill_after_the_first_epoch(one_host, 1, run_dir)
    [(code, out, err)] = finish(process)
    assert code == 0, err
    assert "torchrun has restarted this run: runs/distill/run" in out
    assert (run_dir / "student.onnx").is_file() and epochs(run_dir) == [1, 2, 3]
    assert [path.name for path in run_dir.parent.iterdir()] == ["run"]
    assert len(re.findall(r"^student student, fgd", out, re.MULTILINE)) == 1, "rank 0 alone prints"
    assert not list(run_dir.rglob(".lock*"))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> Iterator[tuple[Host, Host]]:
    reason = why_no_hosts()
    if reason:
        pytest.skip(f"two hosts: {reason}")
    with two_hosts(tmp_path_factory.mktemp("two_hosts")) as (red, blue):
        furnish(red.folder, "data", models=True)
        furnish(blue.folder, "elsewhere", models=False)
        yield red, blue


def start_on_both(hosts, words: dict[str, list]) -> list[subprocess.Popen]:
    """Start one process on each host; its words are the same but for those of the host."""
    place = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", hosts[0].address, "--master-port", "29533"]
    return [host.torchrun([*place, "--node-rank", str(rank)], words[host.name]) for rank, host in enumerate(hosts)]


def test_two_hosts_that_share_nothing_train_together_and_resume_from_the_files_of_rank_0(hosts):
    red, blue = hosts
    words = {"red": [*MODELS, "--data", "data/tiny.yaml", "name=run", *OPTIONS]}
    words["blue"] = [*MODELS, "--data", "elsewhere/tiny.yaml", "name=run", *OPTIONS]
    started = start_on_both(hosts, words)
    run_dir = red.folder / "runs/distill/run"
    killed = kill_after_the_first_epoch(blue, 1, run_dir)
    (code, _, err), (other_code, out, _) = finish(*started)
    assert code == other_code == 1
    [line] = error_lines(err)
    assert f"rank 1 (process {killed} on blue)" in line
    assert out == "", "only rank 0 prints"

    resume = {name: ["--resume", "runs/distill/run"] for name in words}
    (code, out, err), (other_code, _, other_err) = finish(*start_on_both(hosts, resume))
    assert (code, other_code) == (0, 0), err + other_err
    assert "student: resuming from" in out
    assert (run_dir / "student.onnx").is_file() and epochs(run_dir) == [1, 2, 3]
    assert not (blue.folder / "runs").exists() and not (blue.folder / "models").exists()
    assert [path.suffix for path in (blue.folder / "cache/ranks").iterdir()] == [".txt"], "its files are removed"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            "more/tiny.yaml",
            r"error: data: rank 0 on red has .*16 train and 4 val.*, rank 1 on blue has .*17 train and.*",
        ),
        ("none.yaml", r"error: rank 1 on blue: .*none\.yaml.* does not exist.*"),
    ],
)
def test_other_or_missing_data_ends_all_ranks_with_one_line_each_and_leaves_no_run_folder(hosts, data, expected):
    """Started without torchrun, as by a scheduler that sets the environment itself."""
    red, blue = hosts
    if not (blue.folder / "more").exists():
        draw(blue.folder / "more", train=17)
    words = {red: [*MODELS, *OPTIONS, "name=other", "--data", "data/tiny.yaml"]}
    words[blue] = [*MODELS, *OPTIONS, "name=other", "--data", data]
    place = {"size": 2, "address": red.address, "port": 29534}
    started = [host.process(rank, words=words[host], **place) for rank, host in enumerate(hosts)]
    (code, _, err), (other_code, other_out, other_err) = finish(*started)
    assert code == other_code == 1
    assert re.fullmatch(expected, err.strip()), err
    assert len(other_err.splitlines()) == 1 and other_out == "", "one line each, and only rank 0 prints"
    assert not (red.folder / "runs/distill/other").exists()
