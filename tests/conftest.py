"""Isolation of every test (no network, its own caches and folder), and fixtures that many tests share."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

# Ultralytics and matplotlib read these at import, so they are set before any test module is imported.
_HOME = tempfile.TemporaryDirectory(prefix="fgd_yolo-tests-")
# Nothing listens on the discard port: a download in a subprocess fails at once.
_PROXIES = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"
)
os.environ.update(
    YOLO_CONFIG_DIR=_HOME.name,
    MPLCONFIGDIR=_HOME.name,
    MPLBACKEND="Agg",
    FGD_YOLO_CACHE=f"{_HOME.name}/cache",
    YOLO_OFFLINE="true",  # also switches Ultralytics' telemetry off
    YOLO_AUTOINSTALL="false",
    WANDB_MODE="disabled",
    OMP_NUM_THREADS="1",  # the models here are too small for two threads, which would wait for each other instead
    NO_PROXY="localhost,127.0.0.1,::1",
    no_proxy="localhost,127.0.0.1,::1",
    **_PROXIES,
)
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", None, socket.gethostname()}


def _refuse_outside(connect):
    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in _LOOPBACK:
            raise OSError(f"tests have no network, but something connects to {address}")
        return connect(self, address)

    return guarded


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Refuse every connection that leaves this machine, as if it were offline."""
    resolve = socket.getaddrinfo

    def guarded_resolve(host, *args, **kwargs):
        if host not in _LOOPBACK:
            raise socket.gaierror(f"tests have no network, but something looks up {host}")
        return resolve(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse_outside(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", _refuse_outside(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Start in an empty folder, with an empty cache, so that no test sees what another one wrote."""
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "cache"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Iterator[Path]:
    """The YAML of 12 drawn train and 6 val images, 96 px, 3 classes, the last image of each split empty.

    A test that adds files to the images or changes one draws a data set of its own.
    """
    from fixtures import draw_dataset

    data = draw_dataset(tmp_path_factory.mktemp("tiny_data"))
    drawn = _contents(data.parent / "images")
    yield data
    assert _contents(data.parent / "images") == drawn, "a test has changed the images that all share"


@pytest.fixture(scope="session")
def teacher_pt(tiny_data, tmp_path_factory) -> Path:
    """A checkpoint of an untrained, narrow YOLOv8 that has the classes of `tiny_data`."""
    from fixtures import narrow_yaml, save_checkpoint

    folder = tmp_path_factory.mktemp("teacher")
    return save_checkpoint(folder / "teacher.pt", narrow_yaml(folder / "wide.yaml", width=0.25), tiny_data)


@pytest.fixture(scope="session")
def student_yaml(tmp_path_factory) -> Path:
    """The model YAML of a YOLOv8 with half the channels of `teacher_pt`."""
    from fixtures import narrow_yaml

    return narrow_yaml(tmp_path_factory.mktemp("student") / "narrow.yaml", width=0.125)


@pytest.fixture
def pseudo_labelled(tiny_data, teacher_pt, tmp_path) -> Path:
    """Data labelled with some of the teacher's detections, so that its accuracy is not zero."""
    from ultralytics import YOLO

    folder = tmp_path / "pseudo_labelled"
    shutil.copytree(tiny_data.parent / "images", folder / "images")
    for split in ("train", "val"):
        (folder / "labels" / split).mkdir(parents=True)
        for result in YOLO(str(teacher_pt)).predict(folder / "images" / split, imgsz=96, conf=0.001, verbose=False):
            some = result.boxes[::3]
            lines = [
                f"{int(label)} {' '.join(map(str, box))}"
                for label, box in zip(some.cls, some.xywhn.tolist(), strict=True)
            ]
            (folder / "labels" / split / f"{Path(result.path).stem}.txt").write_text("\n".join(lines[:5]))
    description = {**yaml.safe_load(tiny_data.read_text()), "path": str(folder)}
    (folder / "pseudo_labelled.yaml").write_text(yaml.safe_dump(description))
    return folder / "pseudo_labelled.yaml"
