"""Ultralytics executes nothing during calls of this package, in any order of imports and in every thread."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ultralytics.data import dataset as label_caches
from ultralytics.nn import tasks
from ultralytics.utils import checks, downloads, torch_utils

import fgd_yolo
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.safe_loading import safe_loading, user_settings
from fgd_yolo.ultralytics import check_activation, load_model, read_architecture
from fixtures import draw_dataset, save_checkpoint


class Trap:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def trapped(model_yaml: Path, marker: Path, target: Path) -> Path:
    """Write a model YAML whose activation is a program; return it."""
    config = {**yaml.safe_load(model_yaml.read_text()), "activation": f"__import__('os').mkdir({str(marker)!r})"}
    target.write_text(yaml.safe_dump(config))
    return target


FIRST = """
import os, sys
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import checks
before = dict(os.environ)
import fgd_yolo
evil, data, marker = sys.argv[1:]
try:
    fgd_yolo.distill(student=evil, data=data, recipe="plain", epochs=1, imgsz=64, batch=4, device="cpu", plots=False)
except fgd_yolo.FGDError as error:
    print(error)
assert not os.path.exists(marker), "distill() evaluated it"
assert tasks.SAFE_LOAD is False and checks.AUTOINSTALL is True, "the user's settings were changed"
changed = {key for key in {*before, *os.environ} if before.get(key) != os.environ.get(key)}
assert not [key for key in changed if "SAFE" in key or "INSTALL" in key], changed
try:
    YOLO(evil)
except Exception:
    pass
assert os.path.exists(marker), "the trap itself does not work"
"""


def test_a_program_in_a_model_yaml_is_not_run_though_ultralytics_was_imported_first(student_yaml, tiny_data, tmp_path):
    marker = tmp_path / "executed"
    evil = trapped(student_yaml, marker, tmp_path / "evil.yaml")
    ours = {"ULTRALYTICS_SAFE_LOAD", "YOLO_AUTOINSTALL"}
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    words = [sys.executable, "-c", FIRST, str(evil), str(tiny_data), str(marker)]
    run = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "evil.yaml: the activation" in run.stdout and "nothing of it was executed" in run.stdout


def test_a_program_in_the_yaml_of_a_checkpoint_is_named_and_not_run(teacher_pt, tmp_path):
    marker, evil = tmp_path / "executed", tmp_path / "evil.pt"
    checkpoint = torch.load(teacher_pt, weights_only=False)
    checkpoint["model"].yaml["activation"] = f"__import__('os').mkdir({str(marker)!r})"
    torch.save(checkpoint, evil)
    with pytest.raises(FGDError, match="nothing of it was executed"):
        load_model(evil)
    assert not marker.exists()
    with pytest.raises(TypeError):  # what mkdir returns is not an activation
        tasks.DetectionModel(checkpoint["model"].yaml, verbose=False)
    assert marker.exists(), "the trap itself does not work"


@pytest.mark.parametrize("name", ["yolov6n.yaml", "yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml", "yolov10n.yaml"])
def test_models_of_ultralytics_pass_the_check_and_are_read_as_by_ultralytics(name):
    assert read_architecture(name) == tasks.yaml_model_load(name)


@pytest.mark.parametrize("text", ["nn.SiLU()", "torch.nn.LeakyReLU(0.1)", "nn.Hardtanh(min_val=-1, max_val=2.0)"])
def test_activations_of_torch_with_literal_values_are_accepted(text):
    check_activation(text, "x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "nn.SiLU",
        "SiLU()",
        "nn.ReLU(__import__('os').getcwd())",
        "nn.modules.activation.torch.os.getcwd()",
        "nn.Sequential(nn.ReLU())",
        "nn.ReLU(**{'inplace': True})",
        "(lambda: nn.ReLU())()",
        "nn.ReLU() if 1 else 2",
        "nn.Linear(100000, 100000)",
        "(" * 100_000,
        "-" * 100_000 + "1",
        7,
        ["nn.ReLU()"],
    ],
)
def test_any_other_activation_is_refused(text):
    with pytest.raises(FGDError, match=r"x\.yaml: the activation"):
        check_activation(text, "x.yaml")


@pytest.mark.parametrize(
    "layer", ["DetectionModel", "torch_safe_load", "Nowhere", "nn.init", "nn.functional.relu", "os"]
)
def test_an_unknown_layer_is_named(layer, student_yaml, tmp_path):
    config = yaml.safe_load(student_yaml.read_text())
    config["backbone"][0][2] = layer
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(FGDError, match=f"names the layer '{layer}'"):
        read_architecture(tmp_path / "odd.yaml")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/yolov8n.yaml", "https://x/y.yaml", "ul://a/b.yaml"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_model_yaml_is_never_downloaded(address, kind):
    with pytest.raises(FGDError, match="is an address"):
        read_architecture(kind(address))


def test_other_threads_keep_their_setting_while_one_is_inside():
    inside, seen, done = threading.Event(), [], threading.Event()

    def other() -> None:
        inside.wait(10)
        seen.extend([bool(tasks.SAFE_LOAD), bool(checks.AUTOINSTALL)])
        with safe_loading():
            seen.append(bool(tasks.SAFE_LOAD))
        seen.append(bool(tasks.SAFE_LOAD))
        done.set()

    original = [tasks.SAFE_LOAD, checks.AUTOINSTALL]
    thread = threading.Thread(target=other)
    thread.start()
    with safe_loading():
        inside.set()
        assert done.wait(10)
        assert tasks.SAFE_LOAD and not checks.AUTOINSTALL
    thread.join()
    assert seen == [original[0], original[1], True, original[0]]
    assert original == [tasks.SAFE_LOAD, checks.AUTOINSTALL] and type(tasks.SAFE_LOAD) is bool


@pytest.mark.parametrize("flag", [True, False])
def test_the_users_own_flags_and_functions_are_restored_after_nesting_and_errors(flag, monkeypatch):
    monkeypatch.setattr(tasks, "SAFE_LOAD", flag)
    functions = [torch_utils.torch_load, label_caches.load_dataset_cache_file, downloads.safe_download]
    with pytest.raises(ZeroDivisionError), safe_loading():
        with safe_loading():
            assert tasks.SAFE_LOAD
            with user_settings():
                assert bool(tasks.SAFE_LOAD) is flag
        assert tasks.SAFE_LOAD
        raise ZeroDivisionError
    assert tasks.SAFE_LOAD is flag
    assert functions == [torch_utils.torch_load, label_caches.load_dataset_cache_file, downloads.safe_download]


def test_a_value_that_the_user_sets_inside_stays(monkeypatch):
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)
    with safe_loading():
        tasks.SAFE_LOAD = True
    assert tasks.SAFE_LOAD is True


def test_a_checkpoint_that_is_stripped_is_not_executed(tmp_path):
    evil = tmp_path / "it's best.pt"
    torch.save({"model": Trap(tmp_path / "executed")}, evil)
    with safe_loading():
        assert torch_utils.strip_optimizer(evil) == {}
    assert not (tmp_path / "executed").exists()
    with pytest.raises(AttributeError):  # what the trap leaves in the place of the model is none
        torch_utils.strip_optimizer(evil)
    assert (tmp_path / "executed").exists(), "the trap itself does not work"


def test_a_program_in_the_label_cache_of_a_data_set_is_not_run(tmp_path):
    data = draw_dataset(tmp_path / "data", train=4, val=3)
    cache, marker = tmp_path / "data/labels/train.cache", tmp_path / "executed"
    with cache.open("wb") as file:
        np.save(file, np.array({"labels": Trap(marker)}, dtype=object), allow_pickle=True)
    evil = cache.read_bytes()
    dataset = scan_dataset(str(data), {"imgsz": 64})
    assert dataset.scan.train_images == 4 and not marker.exists()
    cache.write_bytes(evil)
    np.load(cache, allow_pickle=True)
    assert marker.exists(), "the trap itself does not work"


def test_a_label_cache_of_ultralytics_is_read_as_by_ultralytics(tmp_path):
    data = draw_dataset(tmp_path / "data", train=4, val=3)
    scan_dataset(str(data), {"imgsz": 64})
    file = tmp_path / "data/labels/train.cache"
    plain = label_caches.load_dataset_cache_file(file)
    with safe_loading():
        ours = label_caches.load_dataset_cache_file(file)
    assert pickle.dumps(ours) == pickle.dumps(plain) and len(ours["labels"]) == 4


def test_only_ultralytics_own_files_are_downloaded_inside(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(downloads, "safe_download", lambda url, **_: asked.append(url))
    with safe_loading():
        downloads.attempt_download_asset(tmp_path / "yolov8n.pt")
        with pytest.raises(FGDError, match="is not downloaded here"):
            downloads.attempt_download_asset("https://example.com/yolov8n.pt")
        with pytest.raises(FGDError, match="is not downloaded here"):
            checks.check_file("http://127.0.0.1:9/data.yaml")
    assert len(asked) == 1 and asked[0].startswith("https://github.com/ultralytics/assets/releases/download/")


GUARDED = {
    *("YOLO", "DetectionModel", "Exporter", "DetectionValidator", "build_yolo_dataset", "check_det_dataset"),
    *("strip_optimizer", "yaml_model_load", "attempt_download_asset", "torch_safe_load"),
}


def unguarded_calls(source: str) -> list[str]:
    """Return calls of Ultralytics that are neither in a function nor in a `with` block with `safe_loading`."""
    calls: list[str] = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = inside or any("safe_loading" in ast.unparse(entry) for entry in node.decorator_list)
        if isinstance(node, ast.With):
            inside = inside or any("safe_loading" in ast.unparse(item.context_expr) for item in node.items)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in GUARDED and not inside:
                calls.append(f"{name}, line {node.lineno}")
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return calls


def test_no_module_calls_ultralytics_with_a_file_outside_safe_loading():
    package = Path(fgd_yolo.__file__).parent
    # Their private functions are called from inside `safe_loading`.
    exempt = {"image_places.py", "reading.py", "scanning.py", "safe_loading.py"}
    unguarded = {
        str(path.relative_to(package)): calls
        for path in package.rglob("*.py")
        if path.name not in exempt and (calls := unguarded_calls(path.read_text(encoding="utf-8")))
    }
    assert not unguarded
    assert unguarded_calls("def f():\n    YOLO('x')"), "the search itself does not work"


def test_every_family_is_saved_and_found_again_inside(tiny_data, tmp_path):
    fine = save_checkpoint(tmp_path / "fine.pt", "yolo11n.yaml", tiny_data)
    with safe_loading():
        assert torch_utils.strip_optimizer(fine, s=str(tmp_path / "copy.pt"))
    assert load_model(tmp_path / "copy.pt")[0].names == {0: "disc", 1: "block", 2: "wedge"}


def test_a_teacher_whose_layers_have_been_renamed_since_is_loaded_all_the_same(teacher_pt, tmp_path):
    checkpoint = torch.load(teacher_pt, weights_only=False)
    checkpoint["model"].yaml["backbone"][0][2] = "Silence"  # as in the YOLOv9 of 2024
    torch.save(checkpoint, tmp_path / "old.pt")
    assert load_model(tmp_path / "old.pt")[0].names
