"""The rendered dataset, tested by its files."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from fgd_yolo.cache import cache_root, make_folder
from fgd_yolo.demo import demo_dataset
from fgd_yolo.demo.rendering import background, lighting
from fgd_yolo.errors import FGDError

COUNTS = {"train_images": 60, "val_images": 12}
IMAGE_PX = 160


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def labels(folder: Path, split: str = "train") -> list[np.ndarray]:
    files = sorted((folder / "labels" / split).glob("*.txt"))
    return [np.array(path.read_text().split(), dtype=float).reshape(-1, 5) for path in files]


def corners(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2], axis=1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    return demo_dataset(tmp_path_factory.mktemp("cache"), **COUNTS, image_px=IMAGE_PX).parent


def test_the_same_seed_gives_the_same_bytes(rendered, tmp_path):
    again = demo_dataset(tmp_path, **COUNTS, image_px=IMAGE_PX).parent
    assert digests(rendered) == digests(again)
    assert len(digests(rendered)) == 2 * sum(COUNTS.values()) + 1


def test_another_seed_and_the_other_split_give_other_images(rendered, tmp_path):
    other = demo_dataset(tmp_path, train_images=4, val_images=4, image_px=IMAGE_PX, seed=1).parent
    images = [digest for folder in (rendered, other) for name, digest in digests(folder).items() if "jpg" in name]
    assert len(set(images)) == len(images) == sum(COUNTS.values()) + 8


def test_a_scene_does_not_depend_on_how_many_are_rendered(rendered, tmp_path):
    fewer = digests(demo_dataset(tmp_path, train_images=3, val_images=1, image_px=IMAGE_PX).parent)
    assert fewer.items() <= digests(rendered).items()


def test_the_yaml_names_six_classes_and_no_absolute_path(rendered):
    data = yaml.safe_load((rendered / "demo.yaml").read_text())
    assert list(data["names"]) == list(range(len(data["names"])))
    assert len(set(data["names"].values())) >= 6
    assert "path" not in data
    for split in ("train", "val"):
        assert len(list((rendered / data[split]).glob("*.jpg"))) == COUNTS[f"{split}_images"]


def test_every_image_has_a_label_file_and_the_requested_size(rendered):
    for split in ("train", "val"):
        images = sorted((rendered / "images" / split).glob("*.jpg"))
        assert [path.stem for path in images] == [p.stem for p in sorted((rendered / "labels" / split).iterdir())]
        assert {cv2.imread(str(path)).shape for path in images} == {(IMAGE_PX, IMAGE_PX, 3)}


def test_all_classes_occur_often(rendered):
    classes = np.concatenate(labels(rendered))[:, 0]
    assert np.bincount(classes.astype(int), minlength=6).min() > 0.08 * len(classes)


def test_sizes_reach_from_4_to_60_percent_with_many_small_ones(rendered):
    rows = np.concatenate(labels(rendered))
    long_side = rows[:, 3:].max(axis=1)
    assert long_side.min() < 0.06
    assert 0.5 < long_side.max() < 0.62
    assert 0.2 < (long_side < 0.1).mean() < 0.6
    assert (corners(rows) >= 0).all() and (corners(rows) <= 1).all()


def test_objects_overlap_in_many_images(rendered):
    def overlaps(rows: np.ndarray) -> bool:
        boxes = corners(rows)
        shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        return bool(((shared.min(axis=2) > 0.01) & ~np.eye(len(boxes), dtype=bool)).any())

    assert np.mean([overlaps(rows) for rows in labels(rendered)]) > 0.3


def test_some_images_have_no_objects(rendered):
    empty = [rows for rows in labels(rendered) if not len(rows)]
    assert 1 <= len(empty) <= 0.25 * COUNTS["train_images"]


def test_outside_all_boxes_there_is_clutter_in_most_images(rendered):
    """Background alone has no edges this strong: without clutter the count is 0 in more than 9 of 10 images."""
    counts = []
    for path, rows in zip(sorted((rendered / "images/train").glob("*.jpg")), labels(rendered), strict=True):
        smooth = cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 1.0)
        edges = np.maximum.reduce([cv2.Canny(np.ascontiguousarray(smooth[..., c]), 100, 200) for c in range(3)])
        for left, top, right, bottom in (corners(rows) * IMAGE_PX).astype(int):
            edges[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4] = 0
        counts.append(cv2.countNonZero(edges))
    assert np.mean(np.array(counts) > 10) > 0.6


def test_light_and_background_vary_between_and_within_images(rendered):
    images = [cv2.imread(str(path)).astype(float) for path in (rendered / "images/train").glob("*.jpg")]
    assert np.std([image.mean() for image in images]) > 15
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    assert np.std([background(rng, 32, 32).mean() for rng in rngs]) > 25
    lights = np.array([lighting(rng, 32, 32) for rng in rngs])
    assert lights.mean(axis=(1, 2, 3)).std() > 0.05
    assert np.mean(lights.max(axis=(1, 2, 3)) / lights.min(axis=(1, 2, 3))) > 1.3


def test_a_complete_dataset_is_reused_unchanged(rendered):
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*")}
    assert demo_dataset(rendered.parent, **COUNTS, image_px=IMAGE_PX) == rendered / "demo.yaml"
    assert {path: path.stat().st_mtime_ns for path in rendered.rglob("*")} == before


def test_other_arguments_do_not_share_a_folder(tmp_path):
    first = demo_dataset(tmp_path, train_images=1, val_images=1, image_px=64)
    others = [
        demo_dataset(tmp_path, train_images=2, val_images=1, image_px=64),
        demo_dataset(tmp_path, train_images=1, val_images=1, image_px=96),
        demo_dataset(tmp_path, train_images=1, val_images=1, image_px=64, seed=1),
    ]
    assert len({first, *others}) == 4


def test_a_killed_render_leaves_no_dataset(tmp_path):
    cache = tmp_path / "cache"
    code = "from fgd_yolo.demo import demo_dataset; import sys; demo_dataset(sys.argv[1], train_images=100000)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", code, cache], env=env, stderr=subprocess.DEVNULL) as render:
        deadline = time.monotonic() + 60
        while not list(cache.rglob("0003.jpg")) and time.monotonic() < deadline:
            time.sleep(0.02)
        render.send_signal(signal.SIGKILL)
    assert list(cache.rglob("0003.jpg")), "rendering did not start"
    assert not list(cache.glob("demo-*"))


def test_the_next_render_removes_what_a_killed_one_left_and_not_what_another_is_writing(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from fgd_yolo.cache import make_folder\n"
        "make_folder(Path(sys.argv[1]), lambda folder: (print(folder.name, flush=True), time.sleep(600)))"
    )
    command = [sys.executable, "-c", code]
    with (
        subprocess.Popen([*command, cache / "other"], stdout=subprocess.PIPE, text=True) as running,
        subprocess.Popen([*command, cache / "set"], stdout=subprocess.PIPE, text=True) as killed,
    ):
        current, leftover = (process.stdout.readline().strip() for process in (running, killed))
        killed.kill()
        killed.wait()
        assert {path.name for path in cache.iterdir()} == {current, leftover}
        make_folder(cache / "set", lambda folder: None)
        names = {path.name for path in cache.iterdir()}
        running.kill()
    assert names == {"set", current}


def test_a_failed_render_leaves_nothing_and_the_slower_of_two_uses_the_result_of_the_faster(tmp_path):
    cache = tmp_path / "cache"

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_folder(cache / "set", fail)
    assert not list(cache.iterdir())

    def overtaken(folder: Path) -> None:
        (folder / "slow").touch()
        make_folder(cache / "set", lambda other: (other / "fast").touch())

    assert [path.name for path in make_folder(cache / "set", overtaken).iterdir()] == ["fast"]
    assert [path.name for path in cache.iterdir()] == ["set"]


def test_a_cache_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FGDError, match="FGD_YOLO_CACHE") as caught:
        demo_dataset(tmp_path / "file", train_images=1, val_images=1)
    assert "\n" not in str(caught.value)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("FGD_YOLO_CACHE", "cache")  # data sets have links into it, from other folders
    assert cache_root() == Path.cwd() / "cache"
    monkeypatch.delenv("FGD_YOLO_CACHE")
    assert cache_root() == Path.home() / ".cache" / "fgd_yolo"


def test_rendering_needs_neither_torch_nor_ultralytics():
    code = "import sys, fgd_yolo.demo; print(sorted({'torch', 'ultralytics'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "[]\n"
