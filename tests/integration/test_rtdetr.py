"""RT-DETR as student and as teacher: real trainings of narrow models."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from ultralytics import RTDETR, YOLO
from ultralytics.models.rtdetr import RTDETRValidator
from ultralytics.models.rtdetr.train import RTDETRTrainer

from fgd_yolo import FGDTrainer, OnnxDetector, distill, export_onnx
from fgd_yolo.cli.visualize_command import main as visualize
from fgd_yolo.compare.object_sizes import SIZE_VALIDATORS, measure_accuracy
from fgd_yolo.export.metadata import read_metadata
from fgd_yolo.task_table import RTDETR as RTDETR_TASK
from fgd_yolo.ultralytics import validate
from fixtures import draw_dataset, draw_image, narrow_rtdetr, narrow_yaml, save_checkpoint
from training import OFF, STEADY, quick_config, rows, same_weights, train

pytestmark = pytest.mark.slow
YOLO_STUDENT, RTDETR_STUDENT = "yolo.yaml", "rtdetr.yaml"
YOLO_TEACHER, RTDETR_TEACHER = "yolo.pt", "rtdetr.pt"
FEATURES = {"fg_loss", "bg_loss", "attn_loss", "rel_loss"}


class Files(NamedTuple):
    """Narrow models of both families and their data."""

    folder: Path
    data: Path

    def path(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    folder = tmp_path_factory.mktemp("rtdetr")
    data = draw_dataset(folder / "data", train=8)
    narrow_yaml(folder / YOLO_STUDENT, 0.0625)
    narrow_rtdetr(folder / RTDETR_STUDENT, 0.0625)
    save_checkpoint(folder / YOLO_TEACHER, narrow_yaml(folder / "wide.yaml", 0.125), data)
    save_checkpoint(folder / RTDETR_TEACHER, narrow_rtdetr(folder / "wide-rtdetr.yaml", 0.125), data)
    return Files(folder, data)


@pytest.mark.parametrize(
    ("teacher", "student"),
    [(RTDETR_TEACHER, YOLO_STUDENT), (YOLO_TEACHER, RTDETR_STUDENT), (RTDETR_TEACHER, RTDETR_STUDENT)],
)
def test_features_teach_between_rtdetr_and_yolo_both_ways(files, tmp_path, caplog, teacher, student):
    with caplog.at_level(logging.INFO):
        config = quick_config({**STEADY, "method": "fgd+heads+crosshead"})
        trainer_class = FGDTrainer.with_teacher(files.path(teacher), config)
        trainer = train(trainer_class, files.path(student), files.data, tmp_path, epochs=1)
    (row,) = rows(trainer)
    crosshead = ["head_crosshead"] if teacher == YOLO_TEACHER else []  # it needs nothing of the student's head
    assert {*trainer.distiller.names} == {*FEATURES, *crosshead}
    assert all(float(row[f"train/{name}"]) > 0 for name in trainer.distiller.names)
    assert isinstance(trainer, RTDETRTrainer) == (student == RTDETR_STUDENT)
    assert [level.stride for level in trainer.distiller.levels] == [8, 16, 32]
    assert "an RT-DETR, whose decoder predicts queries, not cells: outputs are not compared" in caplog.text
    loaded = YOLO(str(trainer.best))  # stock Ultralytics
    assert isinstance(loaded, RTDETR) == (student == RTDETR_STUDENT)


def test_the_terms_of_an_rtdetr_student_are_not_multiplied_by_the_batch_size(files, tmp_path):
    losses = []

    class Trainer(FGDTrainer.with_teacher(files.path(YOLO_TEACHER), quick_config(STEADY))):
        def _setup_train(self):
            super()._setup_train()
            step = self.loss_hook._step
            self.loss_hook._step = lambda *args: losses.append(step(*args)) or losses[-1]

    trainer = train(Trainer, files.path(RTDETR_STUDENT), files.data, tmp_path, epochs=1)
    names = trainer.distiller.names
    for loss, items in losses:
        _, *terms = loss.tolist()
        assert terms == pytest.approx([float(items[name]) for name in names])


def test_an_rtdetr_student_with_all_weights_0_trains_as_ultralytics_does(files, tmp_path):
    plain = FGDTrainer.with_teacher(None, quick_config(OFF))
    ours = train(plain, files.path(RTDETR_STUDENT), files.data, tmp_path / "ours", epochs=1)
    own = train(RTDETRTrainer, files.path(RTDETR_STUDENT), files.data, tmp_path / "own", epochs=1)
    assert same_weights(ours.last, own.last)


def test_an_rtdetr_student_resumes_with_its_own_trainer(files, tmp_path):
    trainer_class = FGDTrainer.with_teacher(files.path(YOLO_TEACHER), quick_config(STEADY))

    def stop(trainer):
        if trainer.epoch == 0:
            raise KeyboardInterrupt

    trainer = trainer_class(
        overrides={
            "model": str(files.path(RTDETR_STUDENT)),
            "data": str(files.data),
            **{"imgsz": 64, "epochs": 2, "batch": 4, "device": "cpu", "project": str(tmp_path), "plots": False},
        }
    )
    trainer.add_callback("on_fit_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resumed = trainer_class(overrides={"resume": str(trainer.last), "data": str(files.data)})
    resumed.train()
    assert isinstance(resumed, RTDETRTrainer)
    assert len(rows(resumed)) == 2


@pytest.fixture(scope="module")
def exported(files) -> Path:
    """The untrained RT-DETR as ONNX, compared with its checkpoint."""
    return export_onnx(files.path(RTDETR_TEACHER), files.path("rtdetr.onnx"), data=files.data, imgsz=96).path


def clipped(boxes, height: int, width: int) -> np.ndarray:
    """Return Ultralytics' boxes (n, 4), clipped to the image as the detector's are."""
    return boxes.xyxy.numpy().clip(0, [width, height] * 2)


def test_an_exported_rtdetr_detects_what_ultralytics_detects_with_the_checkpoint_and_the_file(exported, files):
    detector = OnnxDetector(exported, conf=0.1)
    assert detector.info.rtdetr and detector.info.decoded and detector.info.imgsz == (96, 96)
    random, compared = np.random.default_rng(0), 0
    models = [YOLO(str(file)) for file in (files.path(RTDETR_TEACHER), exported)]
    assert all(isinstance(model, RTDETR) for model in models)
    for height, width in ((96, 96), (60, 200), (333, 101)):
        image = cv2.resize(draw_image(random, objects=3)[0], (width, height))
        found = detector(image)
        compared += len(found)
        for model in models:
            boxes = model.predict(image, imgsz=96, conf=0.1, verbose=False, device="cpu")[0].boxes
            np.testing.assert_allclose(found.xyxy, clipped(boxes, height, width), atol=0.02)
            np.testing.assert_allclose(found.confidence, boxes.conf.numpy(), atol=1e-4)
            assert found.class_id.tolist() == boxes.cls.int().tolist()
    assert compared > 30


@pytest.mark.parametrize("options", [{"uint8_input": True}, {"batch": 2}])
def test_other_forms_of_an_exported_rtdetr_detect_the_same(exported, files, tmp_path, options):
    other = export_onnx(files.path(RTDETR_TEACHER), tmp_path / "other.onnx", data=files.data, imgsz=96, **options).path
    image = draw_image(np.random.default_rng(1), objects=3)[0]
    one, two = (OnnxDetector(file, conf=0.1)([image, image])[1] for file in (exported, other))
    assert len(one) > 10
    np.testing.assert_allclose(one.xyxy, two.xyxy, atol=0.02)


def test_the_metadata_of_an_exported_rtdetr_say_how_its_images_are_prepared(exported):
    entry = json.loads(read_metadata(exported)["fgd_yolo"])
    assert entry["preprocessing"]["fit"] == "stretch"


def test_an_rtdetr_teacher_is_measured_on_stretched_images(files, tmp_path, monkeypatch):
    measured = []
    call = RTDETRValidator.postprocess
    monkeypatch.setattr(RTDETRValidator, "postprocess", lambda self, preds: measured.append(self) or call(self, preds))
    trainer_class = FGDTrainer.with_teacher(files.path(RTDETR_TEACHER), quick_config(STEADY))
    train(trainer_class, files.path(YOLO_STUDENT), files.data, tmp_path, epochs=1)
    assert type(measured[0].dataloader.dataset).__name__ == "RTDETRDataset"


def test_an_rtdetr_teacher_teaches_a_student_of_another_task_and_its_boxes_are_measured(tmp_path, files, caplog):
    data = draw_dataset(tmp_path / "segments", train=8, task="segment")
    student = narrow_yaml(tmp_path / "segment.yaml", 0.0625, "segment")
    trainer_class = FGDTrainer.with_teacher(files.path(RTDETR_TEACHER), quick_config(STEADY))
    with caplog.at_level(logging.INFO):
        train(trainer_class, student, data, tmp_path, task="segment", epochs=1)
    assert "of its boxes on this val set" in caplog.text


def test_a_run_distils_measures_exports_and_draws_an_rtdetr(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"imgsz": 64, "epochs": 1, "batch": 4, "nbs": 4, "device": "cpu", "plots": False}
    recipe = quick_config(STEADY)
    result = distill(files.path(YOLO_TEACHER), files.path(RTDETR_STUDENT), files.data, recipe=recipe, **small)
    assert OnnxDetector(result.onnx).info.rtdetr
    visualize(["--run", str(result.run_dir), "--project", "pictures"])
    assert list(Path("pictures").rglob("*.png"))
    measured = measure_accuracy(result.weights, str(files.data), small)
    assert measured["map50_95"] == result.metrics["student"]["map50_95"]


def test_boxes_of_an_rtdetr_have_their_size_in_the_original_image(files, tmp_path, monkeypatch):
    """Labels are known in pixels of the image; the images of the data set are squares, so one is made wide."""
    data = draw_dataset(tmp_path / "wide", train=1, val=2)
    for image in (tmp_path / "wide/images/val").glob("*.png"):
        cv2.imwrite(str(image), cv2.resize(cv2.imread(str(image)), (192, 96)))
    arguments = {"data": str(data), "imgsz": 64, "device": "cpu"}
    recorder = SIZE_VALIDATORS[RTDETR_TASK]
    run = validate(files.path(RTDETR_TEACHER), arguments, validator=recorder)
    expected = []
    for line in (tmp_path / "wide/labels/val/00.txt").read_text().splitlines():
        x, y, w, h = (float(value) for value in line.split()[1:])
        expected.append([(x - w / 2) * 192, (y - h / 2) * 96, w * 192, h * 96])
    (truth,) = [boxes.ltwh for boxes in run.truth if boxes.ltwh]
    np.testing.assert_allclose(truth, expected, atol=0.05)
