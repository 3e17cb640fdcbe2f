"""Distillation under torchrun: two processes on one host, and two hosts that share nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from fixtures import draw_dataset, narrow_yaml, save_checkpoint
from hosts import NAMES, Host, two_hosts, why_no_hosts

pytestmark = pytest.mark.slow
OPTIONS = (
    *("--epochs", 4, "--imgsz", 64, "--batch", 8, "--device", "cpu", "--recipe", "lenient.yaml"),
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


def finish(*started: subprocess.Popen) -> list[tuple[int, str, str]]:
    """Return exit code, stdout and stderr of processes."""
    ended = [(process, *process.communicate(timeout=200)) for process in started]
    return [(process.returncode, out, err) for process, out, err in ended]


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 200
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def epochs(run_dir: Path) -> list[int]:
    """Return the epochs of the student in results.csv."""
    table = run_dir / "student/results.csv"
    return [int(row.split(",")[0]) for row in table.read_text().splitlines()[1:]] if table.exists() else []


@pytest.fixture(scope="module")
def one_host(tmp_path_factory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("one_host")
    furnish(folder, "data", models=True)
    host = Host("here", "127.0.0.1", folder, folder)
    yield host
    host.kill()


def test_two_processes_of_one_host_go_from_two_model_files_to_an_onnx_file(one_host):
    run_dir = one_host.folder / "runs/distill/run"
    models = ["--teacher", "models/teacher.yaml", "--teacher-epochs", 1, *MODELS[2:]]
    words = [*models, "--data", "data/tiny.yaml", "name=run", *OPTIONS]
    [(code, out, err)] = finish(one_host.torchrun(["--standalone", "--nproc-per-node", "2"], words))
    assert code == 0, err
    assert "it is fine-tuned first" in out and (run_dir / "teacher/results.csv").is_file()
    assert (run_dir / "student.onnx").is_file() and epochs(run_dir) == [1, 2, 3, 4]
    assert len(re.findall(r"^student student, heads\+dfine ", out, re.MULTILINE)) == 1, "rank 0 alone prints"
    assert not list(run_dir.rglob(".lock*")) and not list((one_host.folder / "cache/ranks").glob(".partial*"))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> Iterator[tuple[Host, Host]]:
    reason = why_no_hosts()
    if reason:
        pytest.skip(f"two hosts: {reason}")
    with two_hosts(tmp_path_factory.mktemp("two_hosts")) as (amber, blue):
        furnish(amber.folder, "data", models=True)
        furnish(blue.folder, "elsewhere", models=False)
        yield amber, blue


def on_both(hosts, counts: tuple[int, int], options: list[str], words: list[list]) -> list[subprocess.Popen]:
    """Start torchrun on each host, with its own number of processes and words."""
    place = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{NAMES['amber']}:29533", *options]
    return [
        host.torchrun([*place, "--nproc-per-node", str(count)], own)
        for host, count, own in zip(hosts, counts, words, strict=True)
    ]


def test_two_hosts_that_share_nothing_go_on_after_a_killed_process_and_after_a_power_cut(hosts):
    """`amber` has rank 0, since torchrun sorts the hosts by name."""
    amber, blue = hosts
    words = [[*MODELS, "--data", f"{data}/tiny.yaml", "name=run", *OPTIONS] for data in ("data", "elsewhere")]
    started = on_both(hosts, (1, 1), ["--max-restarts", "1", "--rdzv-id", "first"], words)
    run_dir = amber.folder / "runs/distill/run"
    wait_until(lambda: (run_dir / "student/weights/last.pt").exists())
    os.kill(blue.rank(1), signal.SIGKILL)
    wait_until(lambda: len(epochs(run_dir)) > 1)
    amber.kill()
    blue.kill()
    (_, out, _), (_, other_out, _) = finish(*started)
    assert "torchrun has restarted this run: runs/distill/run" in out
    assert other_out == "", "only rank 0 prints"

    resume = [["--resume", "runs/distill/run"]] * 2
    (code, out, err), (other_code, _, other_err) = finish(
        *on_both(hosts, (2, 1), ["--rdzv-id", "second"], resume)  # with another number of processes
    )
    assert (code, other_code) == (0, 0), err + other_err
    assert "student: resuming from" in out
    assert (run_dir / "student.onnx").is_file() and epochs(run_dir) == [1, 2, 3, 4]
    assert [path.name for path in run_dir.parent.iterdir()] == ["run"]
    assert not (blue.folder / "runs").exists() and not (blue.folder / "models").exists()
    assert [path.suffix for path in (blue.folder / "cache/ranks").iterdir()] == [".txt"], "its files are removed"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            "more/tiny.yaml",
            r"error: data: rank 0 on amber has .*16 train and 4 val.*, rank 1 on blue has .*17 train and.*",
        ),
        ("none.yaml", r"error: rank 1 on blue: .*none\.yaml.* does not exist.*"),
    ],
)
def test_other_or_missing_data_ends_all_ranks_with_one_line_each_and_leaves_no_run_folder(hosts, data, expected):
    """Started without torchrun, as by a scheduler that sets the environment itself."""
    amber, blue = hosts
    if not (blue.folder / "more").exists():
        draw(blue.folder / "more", train=17)
    words = {amber: [*MODELS, *OPTIONS, "name=other", "--data", "data/tiny.yaml"]}
    words[blue] = [*MODELS, *OPTIONS, "name=other", "--data", data]
    place = {"size": 2, "address": amber.address, "port": 29534}
    started = [host.process(rank, words=words[host], **place) for rank, host in enumerate(hosts)]
    (code, _, err), (other_code, other_out, other_err) = finish(*started)
    assert code == other_code == 1
    assert re.fullmatch(expected, err.strip()), err
    assert len(other_err.splitlines()) == 1 and other_out == "", "one line each, and only rank 0 prints"
    assert not (amber.folder / "runs/distill/other").exists()
