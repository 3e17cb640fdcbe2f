from __future__ import annotations

from pathlib import Path

import pytest
from ultralytics.models.yolo.detect import DetectionTrainer

from fgd_yolo.compare.batch_record import batches_digest, read_record, recorded
from fgd_yolo.errors import FGDError
from training import train


def test_only_epochs_that_are_all_there_make_a_digest():
    record = {"epochs": {"1": {"order": "a"}, "2": {"order": "b"}, "4": {"order": "d"}}}
    assert batches_digest(record, 30) is None
    whole = {"epochs": {**record["epochs"], "3": {"order": "c"}}}
    later = {"epochs": {**whole["epochs"], "4": {"order": "e"}}}
    assert batches_digest(whole, 30) == batches_digest(later, 30) is not None
    swapped = {"epochs": {**whole["epochs"], "3": {"order": "b"}, "2": {"order": "c"}}}
    assert batches_digest(swapped, 30) != batches_digest(whole, 30)
    assert batches_digest(record, 2) is not None


def test_a_run_that_has_not_begun_has_no_record():
    assert read_record(Path("nowhere")) == {"starts": [], "epochs": {}}


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b'{"starts": []}', b'{"starts": [], "epochs": {"1": 3}}', b"\xff"]
)
def test_a_damaged_record_is_none_and_told(content, tmp_path, capsys):
    (tmp_path / "record.json").write_bytes(content)
    assert read_record(tmp_path) == {"starts": [], "epochs": {}}
    assert "record.json is damaged" in capsys.readouterr().out


@pytest.mark.slow
def test_the_digest_tells_seeds_and_augmentations_apart(tiny_data, student_yaml, tmp_path):
    def record(name: str, **arguments) -> dict:
        train(
            recorded(DetectionTrainer), student_yaml, tiny_data, tmp_path / name, epochs=1, close_mosaic=0, **arguments
        )
        return read_record(tmp_path / name / "student")

    first, again = record("first"), record("again", lr0=0.002, optimizer="AdamW", imgsz=96)
    seed, mosaic = record("seed", seed=1), record("mosaic", mosaic=0.0)
    orders = [each["epochs"]["1"]["order"] for each in (first, again, seed, mosaic)]
    assert orders[0] == orders[1] and len(set(orders)) == 3
    assert first["init"] == again["init"] == mosaic["init"] != seed["init"]
    assert (first["optimizer"], first["lr0"]) == ("AdamW", pytest.approx(0.001429))  # of auto, three classes
    assert (again["lr0"], again["device_type"], again["starts"]) == (0.002, "cpu", [0])
    assert first["epochs"]["1"]["train_s"] > 0


@pytest.mark.slow
def test_a_run_that_the_host_would_go_on_with_in_smaller_batches_fails(tiny_data, student_yaml, tmp_path):
    class Tight(DetectionTrainer):
        def preprocess_batch(self, batch):
            if len(batch["img"]) > 2:
                raise RuntimeError("CUDA out of memory")
            return super().preprocess_batch(batch)

    with pytest.raises(FGDError, match=r"batch=4 needs more memory .* a smaller --batch or fewer --jobs"):
        train(recorded(Tight), student_yaml, tiny_data, tmp_path, batch=4)


@pytest.mark.slow
def test_what_is_recorded_changes_nothing(tiny_data, student_yaml, tmp_path):
    from training import same_weights

    for name, trainer in (("bare", DetectionTrainer), ("recorded", recorded(DetectionTrainer))):
        train(trainer, student_yaml, tiny_data, tmp_path / name)
    last = [tmp_path / name / "student/weights/last.pt" for name in ("bare", "recorded")]
    assert same_weights(*last)
