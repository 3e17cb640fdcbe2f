from __future__ import annotations

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.datasets import scan_dataset
from fgd_yolo.workflow.measuring import measure
from fixtures import CLASSES


@pytest.mark.slow
def test_a_model_of_a_wider_stride_is_measured_at_the_size_that_it_takes(tiny_data, tmp_path):
    model = DetectionModel("yolov8n-p6.yaml", nc=len(CLASSES), verbose=False)
    model.names, model.task = dict(enumerate(CLASSES)), "detect"
    torch.save({"model": model, "train_args": {"task": "detect"}}, tmp_path / "wide.pt")
    data = scan_dataset(str(tiny_data), {}).copy_to(tmp_path)
    arguments = {"device": "cpu", "workers": 0}
    rows = [measure("p6", tmp_path / "wide.pt", data, {**arguments, "imgsz": size}) for size in (96, 128)]
    assert rows[0].gflops == rows[1].gflops > 0
