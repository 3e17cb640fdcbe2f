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
    *("--epochs", 2, "--imgsz", 64, "--batch", 8, "--device", "cpu", "--recipe", "lenient.yaml"),
    *("optimizer=AdamW", "lr0=0.001", "warmup_epochs=0", "mosaic=0", "nbs=8", "plots=False"),
)
MODELS = ("--teacher", "models/teacher.pt", "--student", "models/student.pt")


def furnish(folder: Path, data: str = "data", train: int = 16, models: bool = True) -> None:
    """Put data, models and a recipe into the folder of a host."""
    draw_dataset(folder / data, train=train, val=4)
    description = yaml.safe_load((folder / data / "tiny.yaml").read_text())
    del description["path"]  # the folder of the YAML, wherever the host sees it
    (folder / data / "tiny.yaml").write_text(yaml.safe_dump(description))
    (folder / "lenient.yaml").write_text("checks:\n  min_teacher_map: 0\npictures_every: 0\n")
    if models:
        (folder / "models").mkdir()
        for name, width in (("teacher", 0.125), ("student", 0.0625)):
            model = narrow_yaml(folder / f"models/{name}.yaml", width)
            save_checkpoint(folder / f"models/{name}.pt", model, folder / data / "tiny.yaml")


def finish(*started: subprocess.Popen, timeout_s: float = 120) -> list[tuple[int, str, str]]:
    """Return exit code, stdout and stderr of processes, none of which survives."""
    try:
        ended = [(process, *process.communicate(timeout=timeout_s)) for process in started]
        return [(process.returncode, out, err) for process, out, err in ended]
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(path: Path, *running: subprocess.Popen) -> None:
    while not path.exists():
        for process in running:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def epochs(run_dir: Path) -> list[int]:
    return [int(row.split(",")[0]) for row in (run_dir / "student/results.csv").read_text().splitlines()[1:]]


def error_lines(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def one_host(tmp_path_factory) -> Host:
    folder = tmp_path_factory.mktemp("one_host")
    furnish(folder)
    return Host("here", "127.0.0.1", folder, folder)


def test_two_processes_distil_and_torchrun_goes_on_where_a_killed_one_left_the_run(one_host):
    run_dir = one_host.folder / "runs/distill/run"
    launch = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    process = one_host.torchrun(launch, [*MODELS, "--data", "data/tiny.yaml", "name=run", *OPTIONS])
    wait_for(run_dir / "student/weights/last.pt", process)
    os.kill(one_host.rank(1), signal.SIGKILL)
    [(code, out, err)] = finish(process)
    assert code == 0, err
    assert "torchrun has restarted this run: runs/distill/run" in out
    assert (run_dir / "student.onnx").is_file() and epochs(run_dir) == [1, 2]
    assert [path.name for path in run_dir.parent.iterdir()] == ["run"]
    assert len(re.findall(r"^student student, fgd", out, re.MULTILINE)) == 1, "rank 0 alone prints"
    assert not list(run_dir.rglob(".lock*"))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> Iterator[tuple[Host, Host]]:
    reason = why_no_hosts()
    if reason:
        pytest.skip(f"two hosts: {reason}")
    with two_hosts(tmp_path_factory.mktemp("two_hosts")) as (red, blue):
        furnish(red.folder)
        furnish(blue.folder, data="elsewhere", models=False)
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
    wait_for(run_dir / "student/weights/last.pt", *started)
    killed = blue.rank(1)
    os.kill(killed, signal.SIGKILL)
    (code, _, err), (other_code, out, _) = finish(*started, timeout_s=60)
    assert code == other_code == 1
    [line] = error_lines(err)
    assert f"rank 1 (process {killed} on blue)" in line
    assert out == "", "only rank 0 prints"
    assert sorted(path.name for path in blue.folder.iterdir()) == files_of_blue()

    resume = {name: ["--resume", "runs/distill/run"] for name in words}
    (code, out, err), (other_code, _, other_err) = finish(*start_on_both(hosts, resume))
    assert (code, other_code) == (0, 0), err + other_err
    assert "student: resuming from" in out
    assert (run_dir / "student.onnx").is_file() and epochs(run_dir) == [1, 2]
    assert sorted(path.name for path in blue.folder.iterdir()) == files_of_blue()
    assert [path.suffix for path in (blue.folder / "cache/ranks").iterdir()] == [".txt"], "its files are removed"


def files_of_blue() -> list[str]:
    return ["cache", "config", "elsewhere", "lenient.yaml", "tmp"]


def test_other_data_and_missing_data_end_all_ranks_with_one_line_each_and_leave_no_run_folder(hosts):
    red, blue = hosts
    draw_dataset(blue.folder / "more", train=17, val=4)
    for data, expected in (
        ("more/tiny.yaml", r"error: data: rank 0 on red has .*16 train and 4 val.*, rank 1 on blue has .*17 train and"),
        ("none.yaml", r"error: rank 1 on blue: .*none\.yaml.*does not exist"),
    ):
        words = [*MODELS, *OPTIONS, "name=other"]
        words = {"red": [*words, "--data", "data/tiny.yaml"], "blue": [*words, "--data", data]}
        (code, _, err), (other_code, _, other_err) = finish(*start_on_both(hosts, words), timeout_s=60)
        assert code == other_code == 1
        assert re.fullmatch(expected + ".*", "\n".join(error_lines(err))), err
        assert len(error_lines(other_err)) == 1
        assert not (red.folder / "runs/distill/other").exists()
