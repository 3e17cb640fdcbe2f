"""Attention plots during a training: when they are drawn, of what, and that nothing else is affected."""

from __future__ import annotations

import random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from ultralytics.utils.callbacks import tensorboard

from fgd_yolo import FGDConfig, FGDTrainer
from fgd_yolo.task_table import TASKS
from fgd_yolo.training import attention_plots
from fgd_yolo.training.attention_plots import choose_images, plot_attention, plot_if_due

DETECT = TASKS["detect"]


@pytest.fixture
def labels(tiny_data):
    """Labels of the val images as Ultralytics' dataset holds them, the last one without boxes."""
    images = sorted((tiny_data.parent / "images/val").iterdir())
    boxes = [np.loadtxt(path.parents[2] / f"labels/val/{path.stem}.txt", ndmin=2) for path in images[:-1]]
    boxes = [rows[:, 1:].astype(np.float32) for rows in boxes] + [np.zeros((0, 4), np.float32)]
    return [{"im_file": str(path), "bboxes": rows} for path, rows in zip(images, boxes, strict=True)]


@pytest.fixture
def trainer(joined, labels, tmp_path):
    """The attributes of a trainer that the callback reads, after epoch 2; one val image, because drawing is slow."""
    return SimpleNamespace(
        distiller=joined.distiller,
        ema=SimpleNamespace(ema=joined.student.eval()),
        test_loader=SimpleNamespace(dataset=SimpleNamespace(labels=labels[:1])),
        args=SimpleNamespace(imgsz=64),
        task=DETECT,
        save_dir=tmp_path / "student",
        epoch=1,
        stop=False,
    )


def drawn(trainer) -> list[str]:
    return sorted(path.name for path in trainer.save_dir.rglob("*"))


def random_streams() -> tuple:
    _, numbers, position, *_ = np.random.get_state()
    return random.getstate(), numbers.tolist(), position, torch.get_rng_state().tolist()


@pytest.mark.parametrize(
    ("every", "stop", "files"),
    [
        (2, False, ["attention", "epoch002.png"]),
        (3, False, []),
        (3, True, ["attention", "epoch002.png"]),
        (0, True, []),
    ],
)
def test_a_plot_is_drawn_at_the_interval_and_at_the_end(trainer, every, stop, files):
    trainer.stop = stop
    plot_if_due(trainer, every)
    assert drawn(trainer) == files


def test_a_training_without_distillation_has_no_plots_and_no_warning(trainer, caplog):
    trainer.distiller = None
    plot_if_due(trainer, 1)
    assert drawn(trainer) == [] and not caplog.records


@pytest.mark.slow
def test_a_plot_shows_every_chosen_image(trainer, labels):
    trainer.test_loader.dataset.labels = labels
    one = plot_attention(trainer.distiller, trainer.ema.ema, choose_images(labels, DETECT)[:1], 64, "epoch 2")
    plot_if_due(trainer, 1)
    plot = cv2.imread(str(trainer.save_dir / "attention/epoch002.png"))
    assert plot.shape == (attention_plots.IMAGES * one.shape[0], *one.shape[1:])
    np.testing.assert_array_equal(plot[: len(one), :, ::-1], one)


def test_drawing_changes_neither_student_nor_teacher_nor_a_random_stream(trainer):
    trainer.ema.ema.train()
    watched = [trainer.ema.ema, trainer.distiller.teachers[0].frozen.model, trainer.distiller.losses]
    before = [{name: value.clone() for name, value in module.state_dict().items()} for module in watched]
    modes = [[part.training for part in module.modules()] for module in watched]
    streams = random_streams()
    plot_if_due(trainer, 1)
    assert drawn(trainer)
    for module, weights, mode in zip(watched, before, modes, strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
        assert [part.training for part in module.modules()] == mode
    assert random_streams() == streams


def test_a_failure_is_a_warning(trainer, labels, caplog):
    labels[0]["im_file"] += ".gone"
    plot_if_due(trainer, 1)
    (message,) = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert "FGD: no attention plot of epoch 2: " in message and "00.png.gone cannot be read" in message
    assert drawn(trainer) == []


def test_the_images_are_spread_over_those_with_boxes_in_any_order_of_the_labels(labels):
    chosen = choose_images(labels, DETECT)
    assert [path.name for path, _ in chosen] == ["00.png", "02.png", "04.png"]
    assert [path for path, _ in choose_images(labels[::-1], DETECT)] == [path for path, _ in chosen]
    np.testing.assert_array_equal(chosen[1][1].boxes, labels[2]["bboxes"])
    assert choose_images(labels[-1:], DETECT) == []


def test_another_plot_interval_does_not_prevent_a_resume():
    """A run must be resumed with the same options, but this one does not change what is learnt."""
    often, never = (
        FGDTrainer._origin(SimpleNamespace(config=FGDConfig(method="fgd", pictures_every=every), teacher_digest="a"))
        for every in (1, 0)
    )
    assert often == never and often["options"]["features.temperature"] == 0.5


def test_an_open_tensorboard_gets_the_plot_too(trainer, tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "board")) as writer:
        monkeypatch.setattr(tensorboard, "WRITER", writer, raising=False)
        plot_if_due(trainer, 1)
    board = events.EventAccumulator(str(tmp_path / "board")).Reload()
    (image,) = board.Images("FGD/attention")
    shown = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert image.step == 2
    np.testing.assert_array_equal(shown, cv2.imread(str(trainer.save_dir / "attention/epoch002.png")))
