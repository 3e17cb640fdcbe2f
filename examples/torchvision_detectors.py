"""Distil torchvision's RetinaNet, FCOS, Faster R-CNN and Mask R-CNN from a ResNet-34-FPN to a ResNet-18-FPN.

The data are the demo scenes of fgd_yolo, rendered on first use. The teacher of a detector is trained once and kept in
the output folder. The student is trained with its help or, with `--method plain`, alone; its average precision on the
val scenes is appended to `results.jsonl` in the output folder.

What distils are the lines with `teacher` and `distillation` in `train_student`; the rest is the training of a detector.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import MultiScaleRoIAlign, box_convert

from fgd_yolo import DistillationLoss
from fgd_yolo.cache import cache_root
from fgd_yolo.console import Parser, guarded_command, positive_int, progress
from fgd_yolo.demo import demo_dataset
from fgd_yolo.demo.signs import NAMES
from fgd_yolo.errors import UsageError
from fgd_yolo.files import atomic_path
from fgd_yolo.methods import METHODS

TEACHER, STUDENT = 34, 18
"""Layers of the ResNet."""
CHANNELS = {TEACHER: 128, STUDENT: 64}
"""Channels of the pyramid."""
STAGES = ("0", "1", "2", "3")
"""Names of the levels that come from the four stages of the ResNet; `pool` follows."""
STRIDES = (4, 8, 16, 32, 64)
CLASSES = 1 + len(NAMES)  # torchvision's class 0 is the background
PAPER_RECIPES = {
    "retinanet": "paper-retinanet",
    "fcos": "paper-fcos",
    "faster-rcnn": "paper-two-stage",
    "mask-rcnn": "paper-two-stage",
}
"""Recipe with the weights that the authors of FGD used for each detector."""
SHORT = {"epochs": 1, "teacher_epochs": 1, "images": 8, "val_images": 4, "image_px": 64, "batch": 4}
EXAMPLES = (
    ("--detector retinanet --method plain", "the student alone"),
    ("--detector retinanet --method fgd --scale paper", "with FGD and the weights of its authors"),
    ("--detector fcos --method cwd --seed 1", "with another detector, method and seed"),
    ("--detector faster-rcnn --short", "a few steps, to see that it runs"),
)

Target = dict[str, Tensor]
Scenes = list[tuple[Tensor, Target]]


# ---- detectors


def build_pyramid(layers: int) -> BackboneWithFPN:
    """Return a ResNet with a feature pyramid, from random weights.

    Batch norm is live and all layers are trained. torchvision's factories freeze batch norm, and some layers, which is
    right for weights from ImageNet; from random weights a frozen batch norm learns next to nothing.
    """
    body = torchvision.models.get_model(f"resnet{layers}", weights=None, norm_layer=nn.BatchNorm2d)
    stages = {f"layer{number}": name for number, name in enumerate(STAGES, start=1)}
    return BackboneWithFPN(body, stages, [64, 128, 256, 512], CHANNELS[layers], norm_layer=nn.BatchNorm2d)


def build_detector(name: str, layers: int, image_px: int) -> nn.Module:
    """Return a detector with anchors for the signs of the demo scenes, whose long side is 0.04 to 0.6 of the image."""
    backbone, size = build_pyramid(layers), {"min_size": image_px, "max_size": image_px}
    if name == "retinanet":
        sizes = tuple((2 * stride, 2.8 * stride) for stride in STRIDES)  # signs are about as wide as high
        anchors = AnchorGenerator(sizes, ((1.0,),) * len(sizes))
        norm = partial(nn.GroupNorm, 16)
        head = RetinaNetHead(CHANNELS[layers], anchors.num_anchors_per_location()[0], CLASSES, norm_layer=norm)
        for module in (*head.classification_head.conv.modules(), *head.regression_head.conv.modules()):
            if isinstance(module, nn.Conv2d):  # torchvision's weights of 0.01 hardly learn in a short training
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        return detection.RetinaNet(backbone, CLASSES, anchor_generator=anchors, head=head, **size)
    if name == "fcos":
        anchors = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))
        return detection.FCOS(backbone, CLASSES, anchor_generator=anchors, **size)
    two_stages = {
        "rpn_anchor_generator": AnchorGenerator(tuple((2 * s,) for s in STRIDES), ((0.5, 1.0, 2.0),) * len(STRIDES)),
        "rpn_post_nms_top_n_train": 200,
        "rpn_post_nms_top_n_test": 200,
        "box_roi_pool": MultiScaleRoIAlign(list(STAGES), output_size=7, sampling_ratio=2),
        "box_head": TwoMLPHead(CHANNELS[layers] * 7 * 7, 256),
        "box_predictor": FastRCNNPredictor(256, CLASSES),
        "box_batch_size_per_image": 64,
    }
    if name == "faster-rcnn":
        return detection.FasterRCNN(backbone, **two_stages, **size)
    return detection.MaskRCNN(backbone, mask_predictor=MaskRCNNPredictor(256, 64, CLASSES), **two_stages, **size)


# ---- data


def load_scenes(args: argparse.Namespace, split: str) -> Scenes:
    """Return the demo scenes of a split as torchvision's detectors take them, with masks for Mask R-CNN."""
    task = "segment" if args.detector == "mask-rcnn" else "detect"
    sizes = {"train_images": args.images, "val_images": args.val_images, "image_px": args.image_px}
    folder = demo_dataset(cache_root(), task=task, seed=args.scenes, **sizes).parent
    scenes = []
    for file in sorted((folder / "images" / split).glob("*.jpg")):
        image = torch.from_numpy(cv2.imread(str(file))[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        lines = (folder / "labels" / split / f"{file.stem}.txt").read_text().splitlines()
        rows = [np.array(line.split(), dtype=np.float32) for line in lines]
        scenes.append((image, read_target(rows, args.image_px, task)))
    return scenes


def read_target(rows: Sequence[np.ndarray], image_px: int, task: str) -> Target:
    """Return boxes in pixels, labels and perhaps masks from the rows of a label file, in fractions of the image."""
    labels = torch.tensor([1 + int(row[0]) for row in rows], dtype=torch.long)
    if task == "detect":
        boxes = torch.from_numpy(np.array([row[1:] for row in rows], dtype=np.float32).reshape(-1, 4))
        return {"boxes": box_convert(boxes * image_px, "cxcywh", "xyxy"), "labels": labels}
    boxes, masks = torch.zeros(len(rows), 4), torch.zeros(len(rows), image_px, image_px, dtype=torch.uint8)
    for index, row in enumerate(rows):
        corners = row[1:].reshape(-1, 2) * image_px
        boxes[index] = torch.from_numpy(np.concatenate([corners.min(axis=0), corners.max(axis=0)]))
        cv2.fillPoly(masks[index].numpy(), [corners.astype(np.int32)], 1)
    return {"boxes": boxes, "labels": labels, "masks": masks}


def flipped(image: Tensor, target: Target, dim: int) -> tuple[Tensor, Target]:
    """Return an image and its target upside down (dim 1) or with left and right exchanged (dim 2)."""
    low, high = (1, 3) if dim == 1 else (0, 2)
    boxes = target["boxes"].clone()
    boxes[:, [low, high]] = image.shape[dim] - target["boxes"][:, [high, low]]
    masks = {"masks": target["masks"].flip(dim)} if "masks" in target else {}
    return image.flip(dim), {**target, "boxes": boxes, **masks}


# ---- training


class Training:
    """Batches, augmentation, optimizer and learning rate of one training: the same for every method.

    Args:
        scenes: the train scenes.
        parameters: what is trained.
        epochs: passes over the scenes.
        seed: order of the scenes, flips, and the anchors and regions that the detectors draw.
        args: batch size, learning rate and device.
    """

    def __init__(
        self, scenes: Scenes, parameters: Sequence[nn.Parameter], epochs: int, seed: int, args: argparse.Namespace
    ):
        self.scenes, self.parameters, self.device = scenes, list(parameters), args.device
        self.random = torch.Generator().manual_seed(seed)
        orders = [torch.randperm(len(scenes), generator=self.random) for _ in range(epochs)]
        self.batches = [batch for order in orders for batch in order.split(args.batch) if len(batch) == args.batch]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=args.lr, weight_decay=0.05, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, args.lr, total_steps=len(self.batches), pct_start=0.1
        )
        torch.manual_seed(seed)

    def steps(self, description: str) -> Iterator[tuple[list[Tensor], list[Target]]]:
        """Yield the images and targets of each step, with a progress bar."""
        for batch in progress(self.batches, description):
            pairs = [self.scenes[index] for index in batch.tolist()]
            for dim in (1, 2):
                flips = torch.rand(len(pairs), generator=self.random) < 0.5
                pairs = [flipped(*pair, dim) if flip else pair for pair, flip in zip(pairs, flips, strict=True)]
            images = [image.to(self.device) for image, _ in pairs]
            yield images, [{key: value.to(self.device) for key, value in target.items()} for _, target in pairs]

    def update(self, loss: Tensor) -> None:
        """Take one step of the optimizer."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.optimizer.step()
        self.schedule.step()


def autocast(args: argparse.Namespace) -> torch.autocast:
    """Return the context of a forward pass: bfloat16 with --bf16."""
    return torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.bf16)


def load_teacher(args: argparse.Namespace) -> nn.Module:
    """Return the teacher from the output folder; train and validate it if it is not there."""
    settings = f"{args.images}x{args.teacher_epochs}-{args.image_px}px-batch{args.batch}-lr{args.lr:g}"
    file = args.output / f"{args.detector}-teacher-{settings}-scenes{args.scenes}.pt"
    torch.manual_seed(args.scenes)
    teacher = build_detector(args.detector, TEACHER, args.image_px).to(args.device)
    if file.is_file():
        teacher.load_state_dict(torch.load(file, weights_only=True))
        return teacher.eval()
    start = time.perf_counter()
    training = Training(load_scenes(args, "train"), teacher.parameters(), args.teacher_epochs, args.scenes, args)
    for images, targets in training.steps("training the teacher"):
        with autocast(args):
            loss = sum(teacher(images, targets).values())
        training.update(loss)
    seconds = time.perf_counter() - start
    with atomic_path(file) as partial:
        torch.save(teacher.state_dict(), partial)
    accuracy = average_precision(teacher.eval(), load_scenes(args, "val"))
    write_result(args, method="teacher", scale=None, seconds=seconds, **accuracy)
    return teacher


def build_loss(args: argparse.Namespace) -> DistillationLoss:
    """Return the loss of the method; the paper's scale comes with the weights for this kind of detector."""
    recipe = PAPER_RECIPES[args.detector] if args.scale == "paper" else None
    loss = DistillationLoss(CHANNELS[STUDENT], CHANNELS[TEACHER], args.method, recipe=recipe, levels=len(STRIDES))
    return loss.to(args.device)


def train_student(args: argparse.Namespace, teacher: nn.Module | None) -> nn.Module:
    """Return a student trained with a teacher, or without one."""
    torch.manual_seed(args.seed)
    student = build_detector(args.detector, STUDENT, args.image_px).to(args.device)
    parameters = list(student.parameters())
    if teacher is not None:
        distillation = build_loss(args)
        parameters += distillation.parameters()  # its alignments and context blocks are trained too

    # What the student computes in any case: the padded batch with its boxes, and the maps of the pyramid.
    seen: dict[str, Any] = {}
    student.transform.register_forward_hook(lambda module, inputs, batch: seen.update(batch=batch))
    student.backbone.register_forward_hook(lambda module, inputs, maps: seen.update(maps=maps))

    training = Training(load_scenes(args, "train"), parameters, args.epochs, args.seed, args)
    for images, targets in training.steps("training the student"):
        with autocast(args):
            loss = sum(student(images, targets).values())
        if teacher is not None:
            padded, padded_targets = seen["batch"]
            with torch.no_grad(), autocast(args):
                teacher_maps = teacher.backbone(padded.tensors)
            boxes = [target["boxes"] for target in padded_targets]
            image_size = tuple(padded.tensors.shape[2:])
            terms = distillation(seen["maps"], teacher_maps, boxes, image_size, detection_loss=loss)
            loss = loss + sum(terms.values())
        training.update(loss)
    return student.eval()


# ---- results


@torch.no_grad()
def average_precision(detector: nn.Module, scenes: Scenes) -> dict[str, float]:
    """Return AP (mean over IoU 0.50 to 0.95) and AP50 of the boxes, 0 to 1, as pycocotools computes them."""
    device = next(detector.parameters()).device
    truth, found = [], []
    for number, (image, target) in enumerate(progress(scenes, "validating")):
        result = {key: value.cpu() for key, value in detector([image.to(device)])[0].items()}
        for entries, side in ((truth, target), (found, result)):
            scores = side.get("scores", torch.ones(len(side["labels"])))
            boxes = box_convert(side["boxes"], "xyxy", "xywh")
            for box, label, score in zip(boxes.tolist(), side["labels"].tolist(), scores.tolist(), strict=True):
                entry = {"image_id": number, "category_id": label, "bbox": box, "score": score}
                entries.append({**entry, "area": box[2] * box[3], "iscrowd": 0, "id": 1 + len(entries)})
    if not found:
        return {"ap": 0.0, "ap50": 0.0}
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(len(scenes))],
            "annotations": truth,
            "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"ap": round(float(evaluation.stats[0]), 4), "ap50": round(float(evaluation.stats[1]), 4)}


def write_result(args: argparse.Namespace, **result: Any) -> None:
    """Print a result and append it, with its settings, to results.jsonl."""
    settings = {name: value for name, value in vars(args).items() if name not in ("output", "debug", "short")}
    row = {**settings, "torch": torch.__version__, **result, "seconds": round(result["seconds"])}
    args.output.mkdir(parents=True, exist_ok=True)
    with (args.output / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    method = " ".join(filter(None, (row["method"], row["scale"])))
    print(f"{args.detector} {method}, seed {args.seed}: AP {row['ap']:.3f}, AP50 {row['ap50']:.3f}", flush=True)


def run(args: argparse.Namespace) -> None:
    """Train and validate one student."""
    if args.short:
        vars(args).update(SHORT)
    if args.method == "fgd":
        args.scale = args.scale or "free"
    elif args.scale:
        raise UsageError(f"--scale {args.scale} is an option of fgd, not of {args.method}: leave it out")
    teacher = None if args.method == "plain" else load_teacher(args)
    start = time.perf_counter()
    student = train_student(args, teacher)
    seconds = time.perf_counter() - start
    write_result(args, seconds=seconds, **average_precision(student, load_scenes(args, "val")))


def build_parser() -> Parser:
    """Return the parser of the command line."""
    description = "Distil a detector of torchvision from a ResNet-34-FPN to a ResNet-18-FPN, on the demo scenes."
    parser = Parser(prog="python examples/torchvision_detectors.py", description=description, examples=EXAMPLES)
    number = {"type": positive_int, "metavar": "N"}
    parser.add_argument("--detector", choices=PAPER_RECIPES, default="retinanet", help="default: retinanet")
    methods = [name for name, loss in METHODS.items() if not loss.needs_scores]
    parser.add_argument("--method", choices=["plain", *methods], default="fgd", help="default: fgd")
    parser.add_argument("--scale", choices=["free", "paper"], help="of fgd: free (default), or the paper's weights")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the student (default: 0)")
    parser.add_argument("--scenes", type=int, default=0, metavar="N", help="seed of the demo scenes (default: 0)")
    parser.add_argument("--images", default=768, **number, help="train scenes (default: 768)")
    parser.add_argument("--val-images", default=256, **number, help="val scenes (default: 256)")
    parser.add_argument("--image-px", default=128, **number, help="side of the scenes in pixels (default: 128)")
    parser.add_argument("--epochs", default=2, **number, help="epochs of the student (default: 2)")
    parser.add_argument("--teacher-epochs", default=3, **number, help="epochs of the teacher (default: 3)")
    parser.add_argument("--batch", default=4, **number, help="images in a step (default: 4)")
    parser.add_argument("--lr", type=float, default=1e-3, metavar="RATE", help="highest learning rate (default: 0.001)")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16: faster where the processor has it")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--output", type=Path, default=Path("runs/torchvision"), help="default: runs/torchvision")
    parser.add_argument("--short", action="store_true", help="a few steps on small images, to see that it runs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example; return the exit code."""
    return guarded_command(lambda arguments: run(build_parser().parse_args(arguments)), argv)


if __name__ == "__main__":
    sys.exit(main())
