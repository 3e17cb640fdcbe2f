"""Each fact about Ultralytics that training relies on, so that an upgrade fails here, with a readable name."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset, dataset
from ultralytics.data import utils as data_utils
from ultralytics.data.base import BaseDataset
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.engine import trainer, validator
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.detect import train as detect_train
from ultralytics.models.yolo.detect import val as detect_val
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import checks, downloads, torch_utils
from ultralytics.utils.tal import TaskAlignedAssigner
from ultralytics.utils.torch_utils import ModelEMA

from fgd_yolo.datasets.dataset import _COPIED_KEYS
from fgd_yolo.task_table import task_of_yaml
from fgd_yolo.ultralytics import read_architecture
from training import batch

FAMILIES = ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"]


@pytest.fixture(params=FAMILIES)
def model(request) -> DetectionModel:
    model = DetectionModel(request.param, nc=3, verbose=False).train()
    model.args = get_cfg()
    return model


def test_importing_fgd_yolo_first_leaves_the_settings_of_ultralytics_unchanged():
    code = (
        "import os; before = dict(os.environ)\n"
        "import fgd_yolo.workflow.distill, fgd_yolo.export.build, fgd_yolo.compare.run_process\n"
        "from ultralytics import utils\n"
        "from ultralytics.nn import tasks\n"
        "from ultralytics.utils import checks\n"
        "assert tasks.SAFE_LOAD is False and utils.AUTOINSTALL is True and checks.AUTOINSTALL is True\n"
        "assert not {'ULTRALYTICS_SAFE_LOAD', 'YOLO_AUTOINSTALL'} & set(os.environ)"
    )
    settings = {"ULTRALYTICS_SAFE_LOAD", "YOLO_AUTOINSTALL"}
    environment = {key: value for key, value in os.environ.items() if key not in settings}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (tasks.torch_safe_load, "safe_only = SAFE_LOAD"),
        (tasks._SafeLoad.restricted, "SAFE_LOAD or"),
        (tasks.parse_model, "_SafeLoad.activation(act) if restricted else eval(act)"),
        (checks.check_requirements, "if install and AUTOINSTALL"),
        (checks.check_file, "downloads.safe_download("),
        (downloads.attempt_download_asset, "safe_download(url="),
        (torch_utils.strip_optimizer, "torch_load(f,"),
        (YOLODataset._load_or_scan_cache, "load_dataset_cache_file(cache_path)"),
        (data_utils.check_det_dataset, 'for x in (split or "val", "download")'),
        (data_utils.check_det_dataset, "images not found, missing path '"),
        (BaseTrainer.get_dataset, "check_det_dataset(self.args.data"),
        (BaseValidator.__call__, "check_det_dataset(self.args.data"),
        (BaseTrainer.check_resume, 'ckpt_args["data"] = self.args.data'),
        (BaseTrainer.check_resume, '"distill_model",'),
        (DetectionTrainer.get_validator, "args=copy(self.args)"),
        (BaseDataset.get_img_files, 'if x.startswith("./")'),
    ],
)
def test_files_are_read_through_the_functions_that_safe_loading_replaces_or_relies_on(function, words):
    assert words in inspect.getsource(function)


def test_the_keys_of_a_data_yaml_that_a_detector_reads_are_in_the_copy_that_it_is_given():
    read = set()
    for module in (data_utils, dataset, trainer, validator, detect_train, detect_val):
        read |= set(re.findall(r"""\bdata(?:\.get\(|\[)"(\w+)\"""", inspect.getsource(module)))
    assert {"names", "channels", "kpt_shape"} <= read, "the search itself does not work"
    own = {"path", "train", "val", "test", "minival", "yaml_file", "download", "validation"}
    other_tasks = {"depth_scale", "max_depth", "bg_class_idx", "semantic_baked", "label_mapping", "_polygon_bg_added"}
    assert read - own - other_tasks <= set(_COPIED_KEYS)


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


def test_an_instance_loss_is_copied_with_the_live_model_so_it_must_be_detached(model):
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


def test_the_ema_is_copied_before_the_loss_hook_is_attached():
    source = inspect.getsource(BaseTrainer._setup_train)
    assert source.index("self.ema = ModelEMA(self.model)") < source.index("self.resume_training(ckpt)")


def test_the_model_is_set_up_before_the_optimizer_is_built():
    source = inspect.getsource(BaseTrainer._setup_train)
    assert source.index("self.setup_model()") < source.index("self._build_train_pipeline()")


def test_ultralytics_clips_the_student_alone():
    source = inspect.getsource(BaseTrainer.optimizer_step)
    assert "self.scaler.unscale_(self.optimizer)" in source
    assert "clip_grad_norm_(self.model.parameters(), max_norm=10.0)" in source


def test_metrics_and_loss_names_pass_through_what_the_trainer_overrides():
    assert "self.label_loss_items" in inspect.getsource(BaseTrainer._do_train)
    assert "self.save_metrics" in inspect.getsource(BaseTrainer._do_train)
    assert {"setup_model", "build_optimizer", "_setup_train", "final_eval", "_load_checkpoint_state"} <= set(
        dir(DetectionTrainer)
    )


def test_several_processes_train_through_what_the_trainer_overrides():
    loop, setup = inspect.getsource(BaseTrainer._do_train), inspect.getsource(BaseTrainer._setup_train)
    assert "if self.world_size > 1:\n            self._setup_ddp()" in loop
    assert "self.loss *= self.world_size" in loop
    assert "nn.parallel.DistributedDataParallel(" in setup and "device_ids=[self.device.index]" in setup
    assert "self.batch_size // max(self.world_size, 1)" in inspect.getsource(BaseTrainer._build_train_pipeline)
    # With `time` the number of epochs is estimated right before this call.
    assert loop.index("self.epochs = self.args.epochs = math.ceil") < loop.rindex("self._get_warmup_iterations(nb)")
    assert "self.last.exists()" in inspect.getsource(BaseTrainer._handle_nan_recovery)


def test_each_module_of_ultralytics_has_the_rank_in_variables_of_its_own():
    from ultralytics.engine import validator
    from ultralytics.models.yolo.detect import val

    assert (validator.RANK, validator.LOCAL_RANK, val.RANK) == (-1, -1, -1)
    assert "if RANK == 0:" in inspect.getsource(val.DetectionValidator.gather_stats)
    assert "if RANK == -1" in inspect.getsource(validator.BaseValidator.__call__)


def test_a_list_of_data_sets_starts_one_trainer_per_data_set_in_a_folder_of_a_known_name():
    from ultralytics.engine.trainer import MultiTrainer

    source = inspect.getsource(MultiTrainer.train)
    assert 'name="multitrain"' in source and 'overrides["save_dir"]' in source


def test_a_trainer_writes_nothing_before_check_resume_and_then_to_the_folder_of_its_arguments(
    student_yaml, tiny_data, tmp_path
):
    class Choosing(DetectionTrainer):
        def check_resume(self, overrides):
            super().check_resume(overrides)
            existing.extend(tmp_path.glob("*run*"))
            self.args.save_dir = str(tmp_path / "chosen-run")

    existing = []
    place = {"project": str(tmp_path / "runs"), "name": "other", "plots": False}
    trainer = Choosing(overrides={"model": str(student_yaml), "data": str(tiny_data), "device": "cpu", **place})
    assert existing == [] and trainer.save_dir == tmp_path / "chosen-run"
    assert [path.name for path in tmp_path.glob("*run*")] == ["chosen-run"]


def test_train_images_have_the_size_in_the_arguments_and_rectangles_that_of_their_batch(tiny_data):
    """`teacher_imgsz` changes both: the argument while a data set is built, the shapes afterwards."""
    data = check_det_dataset(str(tiny_data))
    for rect, size in ((False, (128, 128)), (True, (192, 128))):
        arguments = get_cfg(overrides={"imgsz": 64, "rect": rect, "mosaic": 0.0})
        arguments.imgsz = 128
        built = build_yolo_dataset(arguments, data["train"], 4, data, mode="train", rect=False, stride=32)
        arguments.imgsz = 64
        if rect:
            built.batch_shapes[:] = size
        assert built.imgsz == 128 and built[0]["img"].shape[1:] == size


def test_classes_drop_labels_of_both_splits_and_leave_the_classes_of_the_data(tiny_data):
    facts = check_det_dataset(str(tiny_data))
    arguments = get_cfg(overrides={"classes": [1], "task": "detect", "imgsz": 64})
    for split in ("train", "val"):
        dataset = build_yolo_dataset(arguments, facts[split], 2, facts, mode=split)
        assert {int(number) for label in dataset.labels for number in label["cls"].ravel()} == {1}
    assert (facts["nc"], len(facts["names"])) == (3, 3)


@pytest.mark.parametrize(
    "name", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-obb.yaml", "yolo26n-seg.yaml", "yolo26n-pose.yaml"]
)
def test_every_loss_with_anchors_calls_one_assigner_per_branch_with_these_arguments(name):
    model = task_of_yaml(read_architecture(name)).model(name, nc=3, verbose=False)
    model.args = get_cfg()
    criterion = model.init_criterion()
    for branch in ("one2many", "one2one") if name.startswith("yolo26") else (None,):
        assigner = (getattr(criterion, branch) if branch else criterion).assigner
        assert isinstance(assigner, TaskAlignedAssigner)
        arguments = [*inspect.signature(TaskAlignedAssigner.forward).parameters][1:]
        assert arguments == ["pd_scores", "pd_bboxes", "anc_points", "gt_labels", "gt_bboxes", "mask_gt", "extra"]
