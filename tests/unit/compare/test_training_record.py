from __future__ import annotations

from pathlib import Path

import pytest
from ultralytics.models.yolo.detect import DetectionTrainer

from fgd_yolo.compare.training_record import RecordingTrainer, batches_digest, read_record, with_record
from fgd_yolo.errors import FGDError
from fgd_yolo.task_table import TASKS
from fgd_yolo.training.trainer import FGDTrainer
from training import train


def test_the_digest_needs_all_of_the_first_epochs():
    record = {"epochs": {"1": {"batches": "a"}, "2": {"batches": "b"}, "4": {"batches": "d"}}}
    assert batches_digest(record, 30) is None
    complete = {"epochs": {**record["epochs"], "3": {"batches": "c"}}}
    later = {"epochs": {**complete["epochs"], "4": {"batches": "e"}}}
    assert batches_digest(complete, 30) == batches_digest(later, 30) is not None
    swapped = {"epochs": {**complete["epochs"], "3": {"batches": "b"}, "2": {"batches": "c"}}}
    assert batches_digest(swapped, 30) != batches_digest(complete, 30)
    assert batches_digest(record, 2) is not None


def test_a_run_that_has_not_started_has_an_empty_record():
    assert read_record(Path("nowhere")) == {"starts": [], "epochs": {}}


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b'{"starts": []}', b'{"starts": [], "epochs": {"1": 3}}', b"\xff"]
)
def test_a_damaged_record_counts_as_empty_with_a_warning(content, tmp_path, capsys):
    (tmp_path / "record.json").write_bytes(content)
    assert read_record(tmp_path) == {"starts": [], "epochs": {}}
    assert "record.json is damaged" in capsys.readouterr().out


@pytest.mark.slow
def test_digests_differ_between_seeds_and_augmentations(tiny_data, student_yaml, tmp_path):
    def record(name: str, **arguments) -> dict:
        train(
            with_record(DetectionTrainer),
            student_yaml,
            tiny_data,
            tmp_path / name,
            epochs=1,
            close_mosaic=0,
            **arguments,
        )
        return read_record(tmp_path / name / "student")

    first, again = record("first"), record("again", lr0=0.002, optimizer="AdamW", imgsz=96)
    seed, mosaic = record("seed", seed=1), record("mosaic", mosaic=0.0)
    digests = [each["epochs"]["1"]["batches"] for each in (first, again, seed, mosaic)]
    assert digests[0] == digests[1] and len(set(digests)) == 3
    assert first["init_digest"] == again["init_digest"] == mosaic["init_digest"] != seed["init_digest"]
    assert (first["optimizer"], first["lr0"]) == ("AdamW", pytest.approx(0.001429))  # of auto, three classes
    assert (again["lr0"], again["device_type"], again["starts"]) == (0.002, "cpu", [0])
    assert first["epochs"]["1"]["train_s"] > 0


@pytest.mark.slow
def test_a_run_fails_if_ultralytics_would_halve_the_batch(tiny_data, student_yaml, tmp_path):
    class OutOfMemory(DetectionTrainer):
        def preprocess_batch(self, batch):
            if len(batch["img"]) > 2:
                raise RuntimeError("CUDA out of memory")
            return super().preprocess_batch(batch)

    with pytest.raises(FGDError, match=r"batch=4 does not fit into memory.* a smaller --batch or fewer --jobs"):
        train(with_record(OutOfMemory), student_yaml, tiny_data, tmp_path, batch=4)


@pytest.mark.slow
def test_recording_leaves_the_training_bit_identical(tiny_data, student_yaml, tmp_path):
    from training import same_weights

    for name, trainer in (("plain", DetectionTrainer), ("recorded", with_record(DetectionTrainer))):
        train(trainer, student_yaml, tiny_data, tmp_path / name)
    last = [tmp_path / name / "student/weights/last.pt" for name in ("plain", "recorded")]
    assert same_weights(*last)


def test_the_mix_in_replaces_no_method_of_the_distilling_trainer():
    own = {name for name in vars(RecordingTrainer) if not name.startswith("__")}
    for task in TASKS.values():
        assert own & {*dir(FGDTrainer), *dir(task.trainer)} == {"preprocess_batch"}
    assert "recorder" not in vars(FGDTrainer)
