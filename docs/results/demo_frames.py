"""Make frames of demo videos a data set with two of the six classes: `python demo_frames.py TARGET FRAMES`.

Train: one frame a second of videos with other seeds and backgrounds, from the second second on, with true labels.
Val: the val images of the demo scenes, with the labels of the two classes. TARGET gets `demo-frames.yaml`.
"""

import json
import sys
from pathlib import Path

import cv2
import yaml

from fgd_yolo.cache import cache_root
from fgd_yolo.demo import demo_dataset, demo_video

CLASSES = ("disc", "cross")
SIDE, SECONDS, EMPTY_S = 320, 25, 1


def write_video_frames(target: Path, count: int) -> None:
    """Write frames of as many videos as are needed, and their labels."""
    for number in range(count):
        seed, second = divmod(number, SECONDS - EMPTY_S)
        video, truth_file = demo_video(
            cache_root(), seconds=SECONDS, fps=1, width_px=SIDE, height_px=SIDE, seed=seed + 100
        )
        truth = json.loads(truth_file.read_text())
        wanted = {truth["names"].index(name): index for index, name in enumerate(CLASSES)}
        capture = cv2.VideoCapture(str(video))
        capture.set(cv2.CAP_PROP_POS_FRAMES, second + EMPTY_S)
        read, frame = capture.read()
        capture.release()
        if not read:
            sys.exit(f"{video} has no frame {second + EMPTY_S}")
        lines = []
        for entry in truth["frames"][second + EMPTY_S]:
            if entry["class"] in wanted:
                left, top, right, bottom = (value / SIDE for value in entry["xyxy"])
                box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
                lines.append(f"{wanted[entry['class']]} {' '.join(f'{value:.6f}' for value in box)}\n")
        name = f"video-{seed:02}-{second + EMPTY_S:02}s"
        cv2.imwrite(str(target / "images/train" / f"{name}.png"), frame)
        (target / "labels/train" / f"{name}.txt").write_text("".join(lines))


def link_scenes(target: Path) -> None:
    """Link the val images of the demo scenes, and write the labels of the two classes."""
    scenes = demo_dataset(cache_root())
    names = yaml.safe_load(scenes.read_text())["names"]
    wanted = {str(number): str(CLASSES.index(name)) for number, name in names.items() if name in CLASSES}
    for image in sorted((scenes.parent / "images/val").iterdir()):
        (target / "images/val" / image.name).symlink_to(image)
        lines = (scenes.parent / "labels/val" / f"{image.stem}.txt").read_text().splitlines()
        kept = [line.split(maxsplit=1) for line in lines if line.split()[0] in wanted]
        text = "".join(f"{wanted[number]} {rest}\n" for number, rest in kept)
        (target / "labels/val" / f"{image.stem}.txt").write_text(text)


def main(folder: str, count: str) -> None:
    """Make the data set."""
    target = Path(folder)
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (target / kind / split).mkdir(parents=True)
    write_video_frames(target, int(count))
    link_scenes(target)
    description = {"train": "images/train", "val": "images/val", "names": dict(enumerate(CLASSES))}
    (target / "demo-frames.yaml").write_text(yaml.safe_dump(description, sort_keys=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
