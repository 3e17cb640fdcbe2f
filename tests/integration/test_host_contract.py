"""What we rely on in Ultralytics, fact by fact, so that an upgrade of it fails here and readably."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import ModelEMA

from training import batch

FAMILIES = ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"]


@pytest.fixture(params=FAMILIES)
def model(request) -> DetectionModel:
    model = DetectionModel(request.param, nc=3, verbose=False).train()
    model.args = get_cfg()
    return model


def test_safe_loading_is_on_and_automatic_installs_are_off_wherever_we_come_first():
    code = (
        "import fgd_yolo.distillation.trainer\n"
        "from ultralytics import utils\n"
        "from ultralytics.nn import tasks\n"
        "assert tasks.SAFE_LOAD and not utils.AUTOINSTALL"
    )
    ours = {"ULTRALYTICS_SAFE_LOAD", "YOLO_AUTOINSTALL"}
    bare = {key: value for key, value in os.environ.items() if key not in ours}
    assert subprocess.run([sys.executable, "-c", code], env=bare).returncode == 0


def test_a_batch_given_to_the_model_goes_to_its_loss_attribute(model):
    seen = []
    model.loss = lambda given, preds=None: seen.append((given, preds))
    data = batch()
    model(data)
    assert seen[0][0] is data and seen[0][1] is None


def test_the_loss_is_a_vector_times_batch_size_with_a_dict_of_items_per_image(model):
    loss, items = model(batch())
    assert loss.ndim == 1 and loss.requires_grad and not any(value.requires_grad for value in items.values())
    if getattr(model.model[-1], "one2one_cv2", None) is None:  # with two heads the items are those of one of them
        torch.testing.assert_close(loss.detach(), 2 * torch.stack(list(items.values())))


def test_preds_made_beforehand_are_accepted(model):
    data = batch()
    loss, _ = model.loss(data, model(data["img"]))
    assert torch.isfinite(loss).all()


def test_the_last_layer_is_the_head_and_its_input_is_the_list_of_neck_maps(model):
    seen = []
    model.model[-1].register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0]))
    model(torch.rand(1, 3, 64, 64))
    assert [neck_map.shape[-1] for neck_map in seen[0]] == [8, 4, 2]
    assert model.stride.tolist() == [8, 16, 32]


def test_an_instance_loss_is_copied_with_the_live_model_so_it_must_come_off(model):
    model.loss = lambda given, preds=None: None
    assert "loss" in vars(deepcopy(model)), "detaching around _load_checkpoint_state is no longer needed"
    del model.loss
    assert "loss" not in vars(ModelEMA(model).ema)


def test_yolo26_updates_its_criterion_each_epoch():
    model = DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    model.args = get_cfg()
    assert callable(model.init_criterion().update)


def test_the_trainer_writes_its_checkpoints_through_these_three_paths():
    source = inspect.getsource(BaseTrainer.save_model)
    assert "self.last.write_bytes" in source and "self.best.write_bytes" in source
    assert 'self.wdir / f"epoch{self.epoch}.pt"' in source


def test_the_ema_is_copied_before_our_seam_goes_on():
    source = inspect.getsource(BaseTrainer._setup_train)
    assert source.index("self.ema = ModelEMA(self.model)") < source.index("self.resume_training(ckpt)")


def test_the_model_is_set_up_before_the_optimizer_is_built():
    source = inspect.getsource(BaseTrainer._setup_train)
    assert source.index("self.setup_model()") < source.index("self._build_train_pipeline()")


def test_only_the_student_is_clipped_by_the_host():
    source = inspect.getsource(BaseTrainer.optimizer_step)
    assert "self.scaler.unscale_(self.optimizer)" in source
    assert "clip_grad_norm_(self.model.parameters(), max_norm=10.0)" in source


def test_metrics_and_loss_names_pass_through_what_we_override():
    assert "self.label_loss_items" in inspect.getsource(BaseTrainer._do_train)
    assert "self.save_metrics" in inspect.getsource(BaseTrainer._do_train)
    assert {"setup_model", "build_optimizer", "_setup_train", "final_eval", "_load_checkpoint_state"} <= set(
        dir(DetectionTrainer)
    )


def test_a_list_of_data_sets_makes_a_sweep_in_a_folder_of_a_known_name():
    from ultralytics.engine.trainer import MultiTrainer

    source = inspect.getsource(MultiTrainer.train)
    assert 'name="multitrain"' in source and 'overrides["save_dir"]' in source


def test_classes_drop_labels_of_both_splits_and_leave_the_classes_of_the_data(tiny_data):
    facts = check_det_dataset(str(tiny_data))
    arguments = get_cfg(overrides={"classes": [1], "task": "detect", "imgsz": 64})
    for split in ("train", "val"):
        dataset = build_yolo_dataset(arguments, facts[split], 2, facts, mode=split)
        assert {int(number) for label in dataset.labels for number in label["cls"].ravel()} == {1}
    assert (facts["nc"], len(facts["names"])) == (3, 3)
