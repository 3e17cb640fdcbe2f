"""Whatever was measured without labels is called agreement with fp32, never accuracy."""

from __future__ import annotations

from pathlib import Path

from fgd_yolo.export.agreement import MIN_SCORE, OwnDetections
from fgd_yolo.export.int8_checks import AgreementCheck, LabelCheck
from fgd_yolo.task_table import TASKS, Accuracy

OWN, AGREED = Accuracy(0.99, 0.995, 0.995, 0.995), Accuracy(0.95, 0.98, 0.97, 0.99)
DETECTIONS = OwnDetections(Path("data.yaml"), images=40, objects=312)


def test_the_summary_says_agreement_and_that_it_is_not_accuracy():
    check = AgreementCheck(TASKS["segment"], DETECTIONS)
    assert check.changes(OWN, AGREED) == [
        "agreement with fp32, not accuracy, on the 312 objects that fp32 finds on 40 held-out frames:",
        "  mAP50-95 95.00 of 99.00 against the masks of fp32: 4.00 points lost",
        "  mAP50-95 97.00 of 99.50 against the boxes of fp32: 2.50 points lost",
    ]


def test_a_loss_of_agreement_is_named_so():
    loss = AgreementCheck(TASKS["detect"], DETECTIONS).loss(OWN, AGREED, 4.0)
    assert loss == (
        "loses 4.00 points of agreement with it on 40 held-out frames (mAP50-95 against its own detections, "
        "boxes: 0.9900 to 0.9500)"
    )
    assert "agreement" not in LabelCheck(TASKS["detect"], "data.yaml").loss(OWN, AGREED, 4.0)


def test_agreement_cannot_be_measured_where_every_loss_would_be_accepted():
    check = AgreementCheck(TASKS["detect"], DETECTIONS)
    assert check.flaw(OWN, 5.0) is None
    flaw = check.flaw(OWN._replace(map50_95=0.05), 5.0)
    assert "float32 itself has 5.00 mAP50-95 points against its own detections" in flaw and "--calibrate" in flaw


def test_agreement_has_a_key_of_its_own_in_the_metadata():
    entry = AgreementCheck(TASKS["detect"], DETECTIONS).metadata(OWN, AGREED, 4.0)
    assert list(entry) == ["agreement"]
    assert entry["agreement"] == {
        **AGREED._asdict(),
        "fp32": OWN._asdict(),
        "drop_points": 4.0,
        "images": 40,
        "objects": 312,
        "min_score": MIN_SCORE,
    }
