"""The predictions of RT-DETR's encoder: boxes and class scores for each cell, like those of a YOLO's head.

RT-DETR's decoder refines its queries, the cells with the highest scores. It chooses them by a small head on every cell
of the neck maps, whose outputs have the same order and meaning as those of a YOLO without DFL.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.utils.tal import make_anchors


def encoder_outputs(head: RTDETRDecoder, maps: list[Tensor], features: Tensor | None = None) -> dict[str, Any]:
    """Return what the encoder predicts for each cell, in the format of a branch of a YOLO's head.

    Convention:
        Boxes are distances of the four edges from the centre of the cell, in cells. Ultralytics leaves out cells whose
        centre is within 1 % of the image's border: they have no prediction, and are not `valid`.

    Args:
        head: the decoder.
        maps: neck maps (B, C, H, W), finest first.
        features: (B, A, hidden) that the decoder has made of them in its own forward pass (`enc_output`); None to make
            them, which in training would count the batch in the statistics of its batch norms.

    Returns:
        `boxes` (B, 4, A), `scores` (B, classes, A) as logits, `feats` (the maps), and `valid` (A,).
    """
    shapes = [list(neck_map.shape[2:]) for neck_map in maps]
    if features is None:
        inputs, _ = head._get_encoder_input(maps)
        _, valid = head._generate_anchors(shapes, inputs)
        features = head.enc_output(valid * inputs)
    # In half precision a fraction of the image is too coarse: of an 80th of it float16 keeps 12 bits, bfloat16 nine.
    anchors, valid = head._generate_anchors(shapes, features.float())
    boxes = (head.enc_bbox_head(features).float() + anchors).sigmoid()
    cells = torch.cat([boxes.new_tensor([[width, height]]).expand(height * width, 2) for height, width in shapes])
    centres, _ = make_anchors(maps, [1] * len(maps), 0.5)
    offset, half = boxes[..., :2] * cells - centres, boxes[..., 2:] * cells / 2
    return {
        "boxes": torch.cat([half - offset, half + offset], dim=2).transpose(1, 2),
        "scores": head.enc_score_head(features).transpose(1, 2),
        "feats": maps,
        "valid": valid.flatten(),
    }
