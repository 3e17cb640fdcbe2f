"""Labelled images and unlabelled frames as one data set."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FRAME, LABELLED = 20, 230  # brightness; Ultralytics fills with 114


def save(folder: Path, count: int, brightness: int, sizes=((40, 40),), labels: bool = False) -> Path:
    """Save images of one brightness, with a box on each if they have labels, and return the list of them."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        files.append(folder / f"images/{number:03}.png")
        Image.fromarray(np.full((*sizes[number % len(sizes)], 3), brightness, np.uint8)).save(files[-1])
        if labels:
            (folder / f"labels/{number:03}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "list.txt").write_text("".join(f"{file}\n" for file in files))
    return folder / "list.txt"


@pytest.fixture
def mixed(tmp_path):
    """Builds a mixed data set of a number of labelled images and frames."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data import build_yolo_dataset

    from fgd_yolo.datasets.unlabeled_images import without_labels
    from fgd_yolo.training.unlabeled_frames.mixed_dataset import MixedDataset

    def build(labelled: int, frames: int, ratio: float = 0.5, rect: bool = False, sizes=((40, 40),), **changes):
        options = {"imgsz": 64, "hsv_v": 0.0, "hsv_s": 0.0, "scale": 0.0, "translate": 0.0, **changes}
        arguments = get_cfg(overrides=options)
        data = {"names": {0: "a"}, "channels": 3, "nc": 1}
        places = (
            save(tmp_path / "l", labelled, LABELLED, sizes, labels=True),
            save(tmp_path / "f", frames, FRAME, sizes),
        )
        own = build_yolo_dataset(arguments, str(places[0]), 4, data, mode="train") if labelled else None
        with without_labels():
            others = build_yolo_dataset(arguments, str(places[1]), 4, data, mode="train")
        return MixedDataset(own, others, ratio=ratio, rect=rect, hyp=arguments)

    return build


@pytest.mark.parametrize(
    ("labelled", "frames", "ratio", "of_frames"), [(6, 14, 0.5, 10), (15, 5, 0.8, 16), (3, 3, 0.01, 1)]
)
def test_an_epoch_has_as_many_images_as_both_and_the_share_of_frames(mixed, labelled, frames, ratio, of_frames):
    dataset = mixed(labelled, frames, ratio)
    assert len(dataset) == labelled + frames
    assert sum(dataset[index]["unlabeled"] for index in range(len(dataset))) == of_frames


def test_frames_alone_are_shown_once_each(mixed):
    dataset = mixed(0, 7, mosaic=0.0)
    assert len(dataset) == 7 and all(dataset[index]["unlabeled"] for index in range(7))
    assert {Path(dataset[index]["im_file"]).name for index in range(7)} == {f"{number:03}.png" for number in range(7)}


def test_a_small_part_is_repeated_and_of_a_large_one_every_image_has_its_turn(mixed):
    dataset = mixed(4, 20, 0.5, mosaic=0.0)  # 12 of each kind
    shown = Counter(Path(dataset[index]["im_file"]).name for index in range(12))
    assert set(shown.values()) == {3} and len(shown) == 4
    seen = {dataset[index]["im_file"] for _ in range(40) for index in range(12, 24)}
    assert len(seen) == 20


def test_mosaic_and_mixup_never_put_a_frame_beside_a_labelled_image(mixed):
    dataset = mixed(8, 8, mosaic=1.0, mixup=1.0, close_mosaic=0)
    for index in range(16):
        sample = dataset[index]
        pixels = set(np.unique(sample["img"].numpy()).tolist())
        strange = {LABELLED} if sample["unlabeled"] else {FRAME}
        assert not pixels & strange
        assert bool(len(sample["bboxes"])) is not sample["unlabeled"]


def test_mosaic_ends_in_both_parts(mixed):
    from ultralytics.cfg import get_cfg

    dataset = mixed(4, 4, mosaic=1.0)
    assert _mosaics(dataset) == [1.0, 1.0]
    arguments = get_cfg(overrides={"mosaic": 1.0})
    dataset.close_mosaic(arguments)
    assert _mosaics(dataset) == [0.0, 0.0] and arguments.mosaic == 1.0


def _mosaics(dataset) -> list[float]:
    """Return the probability of a mosaic in each part."""
    from ultralytics.data.augment import Compose, Mosaic

    def steps(transforms):
        for step in transforms.transforms:
            yield from steps(step) if isinstance(step, Compose) else [step]

    return [step.p for part in dataset.parts for step in steps(part.transforms) if isinstance(step, Mosaic)]


def test_rectangular_batches_hold_both_kinds_in_one_shape(mixed):
    dataset = mixed(6, 6, rect=True, sizes=((40, 20), (20, 40), (40, 40)))
    assert len(dataset) == 12 and dataset.rect
    assert sorted(Path(dataset[index]["im_file"]).parts[-3] for index in range(12)) == ["f"] * 6 + ["l"] * 6
    shapes = [tuple(dataset[index]["img"].shape[1:]) for index in range(12)]
    for batch in range(3):
        assert set(shapes[4 * batch : 4 * batch + 4]) == {tuple(dataset.batch_shapes[batch])}
    assert len(set(shapes)) == 3
    dataset.batch_shapes = dataset.batch_shapes + 32
    assert tuple(dataset[0]["img"].shape[1:]) == tuple(dataset.batch_shapes[0])


def test_a_batch_says_which_images_are_frames(mixed):
    dataset = mixed(4, 4, mosaic=0.0)
    batch = dataset.collate_fn([dataset[index] for index in (0, 7, 1)])
    assert batch["unlabeled"] == (False, True, False)
    assert batch["batch_idx"].tolist() == [0, 2]
