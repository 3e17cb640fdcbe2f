"""Training over several processes, for real: gloo on the CPU, processes of one machine, narrow models."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.utils.torch_utils import unwrap_model

import rank_training
from fgd_yolo.training.checkpoints import is_finished, read_side_file
from fgd_yolo.training.step import distiller
from fixtures import draw_dataset, narrow_yaml, save_checkpoint
from rank_training import KeepingTrainer, build, state
from ranks import SumOfThreads, in_threads, torchrun
from training import STEADY

pytestmark = pytest.mark.slow
SCRIPT = Path(rank_training.__file__)
IMAGES = 18  # for two ranks batches of 2, 2, 2, 2 and 1 images each, for three of 2, 2 and 2
SMALL_STEPS = {"lr0": 1e-5}  # with larger ones, the order of a sum of three gradients decides about the first digits
FOUND = {"pseudo_high": 0.35, "pseudo_low": 0.2}  # what an untrained teacher finds
SMALL = {"imgsz": 64, "device": "cpu", "plots": False, "nbs": 4, "optimizer": "SGD", "name": "student"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """Teacher, student and data."""
    folder = tmp_path_factory.mktemp("files")
    data = draw_dataset(folder / "data", train=IMAGES, val=6)
    teacher = save_checkpoint(folder / "teacher.pt", narrow_yaml(folder / "wide.yaml", 0.125), data)
    student = narrow_yaml(folder / "narrow.yaml", 0.0625)
    return {"teacher": str(teacher), "model": str(student), "data": str(data)}


def arguments(
    files: dict[str, str], folder: Path, plan: dict | None = None, unlabeled: str | None = None, **changes: Any
) -> dict[str, Any]:
    """Return the arguments of a small training, and write them where its processes read them."""
    project = {"project": str(folder / ("HOST" if changes.pop("hosts", False) else "runs"))}
    names = {"model": files["model"], "data": files["data"]}
    content = {
        "teacher": files["teacher"],
        "options": {**STEADY, "features.ratio": 1.0, **(FOUND if unlabeled else {})},  # the alignments move too
        "overrides": {**names, **SMALL, "epochs": 2, "batch": 4, "warmup_epochs": 0, **project, **changes},
        "plan": plan or {},
        "hosts": "HOST" in project["project"],
        "unlabeled": unlabeled,
    }
    folder.mkdir(exist_ok=True)
    (folder / "arguments.json").write_text(json.dumps(content))
    return content


def results(folder: Path, processes: int) -> list[dict[str, Any]]:
    """Return what each rank has kept."""
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(processes)]


def assert_ranks_are_equal(kept: list[dict[str, Any]]) -> None:
    """Assert that after every epoch everything that is trained is the same on all ranks, to the last bit."""
    for number, own in enumerate(kept[0]["states"]):
        for other in kept[1:]:
            theirs = other["states"][number]
            assert own.keys() == theirs.keys()
            different = [name for name, value in own.items() if not torch.equal(value, theirs[name])]
            assert not different, f"state {number}: {different[:3]}"


def average(trainers: list[KeepingTrainer]) -> None:
    """Give every trainer the mean of all trainers' gradients; one that is missing counts as 0 if another has one."""
    parameters = [[*unwrap_model(own.model).parameters(), *own.beside().parameters()] for own in trainers]
    for same in zip(*parameters, strict=True):
        present = [parameter.grad for parameter in same if parameter.grad is not None]
        if present:
            mean = sum(present) / len(same)
            for parameter in same:
                parameter.grad = mean.clone()


def reference(content: dict[str, Any], kept: list[dict[str, Any]], monkeypatch) -> list[dict[str, torch.Tensor]]:
    """Repeat a training of several ranks in this process and return its states, as rank 0 keeps them.

    Each rank's batches go through a model of their own, with its own batch statistics and normalisers; the gradients
    are averaged in a plain loop, and every model takes the same step.
    """
    count, trainers = len(kept), []
    monkeypatch.setattr(distiller, "sum_over_ranks", SumOfThreads(count))
    monkeypatch.setattr(distiller, "has_ranks", lambda: True)
    for rank in range(count):
        own = build(
            Path(), **{**content, "overrides": {**content["overrides"], "name": f"reference{rank}"}}, place=rank
        )
        own._setup_train()
        first = kept[0]["states"][0]
        for part, model in (("student", unwrap_model(own.model)), ("ema", own.ema.ema), ("beside", own.beside())):
            values = {name.removeprefix(f"{part}."): v for name, v in first.items() if name.startswith(f"{part}.")}
            model.load_state_dict(values, strict=part != "student")
        trainers.append(own)
    epochs = content["overrides"]["epochs"]
    steps = len(kept[0]["batches"]) // epochs
    states = []

    def forward_and_backward(trainer, rank: int) -> None:
        batch = kept[rank]["batches"][trainer.steps_taken]
        batch = trainer.preprocess_batch({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in batch.items()})
        loss, _ = trainer.model(batch)
        (loss.sum() * count).backward()

    for epoch in range(epochs):
        for own in trainers:
            own.epoch = epoch
            own.scheduler.step()
            own._model_train()
            own.distiller.start_epoch(epochs, steps)
        for _ in range(steps):
            in_threads(forward_and_backward, trainers, timeout_s=120)
            average(trainers)
            for own in trainers:
                own.optimizer_step()
        in_threads(lambda own, _: own.distiller.end_epoch(), trainers)
        states.append(state(trainers[0]))
    return states


def draw_frames(folder: Path) -> str:
    """Draw a few images without labels and return their list file."""
    draw_dataset(folder, train=14, val=1)
    images = sorted((folder / "images/train").iterdir())
    (folder / "frames.txt").write_text("".join(f"{image}\n" for image in images))
    return str(folder / "frames.txt")


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # as in Ultralytics' own loop
@pytest.mark.parametrize(
    ("processes", "epochs", "with_frames"),
    [(2, 4, False), pytest.param(3, 7, False, marks=pytest.mark.long), (2, 3, True)],
)
def test_several_ranks_equal_a_loop_that_averages_their_gradients(
    files, tmp_path, monkeypatch, processes, epochs, with_frames
):
    plan = {"1": {"changes": {"3": "remove_boxes", "7": "drop_last_image"}, "spoilt": [2, 5]}, "0": {"spoilt": [9]}}
    frames = draw_frames(tmp_path / "frames") if with_frames else None
    content = arguments(files, tmp_path / "run", plan, frames, epochs=epochs, batch=2 * processes, **SMALL_STEPS)
    ended = torchrun(SCRIPT, processes, tmp_path / "run")
    assert ended.returncode == 0, ended.stderr[-2000:]
    kept = results(tmp_path / "run", processes)
    assert len(kept[0]["batches"]) >= 20
    assert any(len(batch["img"]) == 1 for batch in kept[1]["batches"])
    assert_ranks_are_equal(kept)
    expected = reference(content, kept, monkeypatch)
    assert len(expected) == epochs == len(kept[0]["states"]) - 1
    for own, wanted in zip(kept[0]["states"][1:], expected, strict=True):
        moved = assert_same_way(kept[0]["states"][0], own, wanted)
    assert min(moved.values()) > 5e-6, f"too short a way to compare: {moved}"


def assert_same_way(
    start: dict[str, torch.Tensor], own: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]
) -> dict[str, float]:
    """Assert that a state is the wanted one but for rounding, and return how far each part has moved.

    The ranks add the same gradients in another order; what this changes is measured by the way from the start, of which
    a wrong mean would change a large part.
    """
    moved = dict.fromkeys(("student", "ema", "beside"), 0.0)
    for name, value in wanted.items():
        way = float((value - start[name]).abs().max())
        moved[name.partition(".")[0]] = max(moved[name.partition(".")[0]], way)
        off = float((own[name] - value).abs().max())
        assert off <= 5e-2 * way + 1e-7 + 1e-5 * float(value.abs().max()) * ("running_" in name), (
            f"{name}: {off}, {way}"
        )
    return moved


def test_a_killed_rank_ends_the_others_and_another_number_of_ranks_resumes(files, tmp_path):
    """Each rank has folders of its own, like machines without a shared disk; before the kill an epoch is repeated."""
    run, weights = tmp_path / "run", tmp_path / "run/host0/student/weights"
    arguments(files, run, {"0": {"lost": [1]}, "1": {"killed": 10}}, epochs=4, batch=6, hosts=True)
    killed = torchrun(SCRIPT, 2, run)
    assert killed.returncode != 0
    lines = [line for line in killed.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, killed.stderr[-2000:]
    assert re.fullmatch(
        r"error: rank 1 \(process \d+ on .+\) was killed or has crashed; this process ends too", lines[0]
    )
    assert not (tmp_path / "run/host1/student/weights").exists()

    checkpoint = torch.load(weights / "last.pt", weights_only=False)
    side = read_side_file(weights / "fgd_last.safetensors")
    assert checkpoint["epoch"] == side["epoch"] == 1
    last = str(run / "HOST/student/weights/last.pt")
    arguments(files, run, hosts=True, model=last, resume=last)
    resumed = torchrun(SCRIPT, 3, run)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    kept = results(run, 3)
    assert [own["epochs"] for own in kept] == [[2, 3]] * 3
    assert_ranks_are_equal(kept)
    for name, value in checkpoint["ema"].float().state_dict().items():
        assert torch.equal(kept[2]["states"][0][f"ema.{name}"], value), name
    for name, value in side["losses"].items():
        assert torch.equal(kept[2]["states"][0][f"beside.0.{name}"], value), name
    assert [own["save_dir"] for own in kept] == [str(run / f"host{rank}/student") for rank in range(3)]
    assert epochs_of(run / "host0/student/results.csv") == [1, 2, 3, 4]
    assert is_finished(weights / "best.pt")


def test_a_trainer_starts_a_process_for_each_of_its_devices(files, tmp_path):
    content = arguments(files, tmp_path / "run", epochs=1)
    trainer = build(tmp_path / "run", **content)
    trainer.ddp, trainer.world_size = True, 2  # as Ultralytics sets them for device=0,1
    note = tmp_path / "note"

    def append(trainer) -> None:
        with note.open("a") as file:
            file.write(f"{trainer.world.rank}\n")

    trainer.add_callback("on_train_epoch_end", append)
    trainer.train()
    kept = results(tmp_path / "run", 2)
    assert_ranks_are_equal(kept)
    assert sorted(note.read_text().split()) == ["0", "1"]
    assert [own["save_dir"] for own in kept] == [str(trainer.save_dir)] * 2
    assert epochs_of(trainer.csv) == [1]
    assert is_finished(trainer.best)
    assert not trainer.folder_lock.held


def epochs_of(results_csv: Path) -> list[int]:
    with results_csv.open() as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]
