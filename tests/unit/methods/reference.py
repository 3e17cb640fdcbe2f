"""The FGD formulas as plain loops over images, boxes, channels and cells, written from the paper.

Nothing of the package is used, and nothing is optimised. If paper and authors' code differ, the code is
followed: a box's last cell is included, its area is counted before it is clipped to the map, and sums are
divided by images.
"""

from __future__ import annotations

from math import ceil, floor

import torch


def fgd_terms(student_map, teacher_map, boxes, image_index, params, weights, temperature):
    """Return [fg, bg, attn, rel], weighted; `params` are the loss module's tensors by name."""
    student_map = align(student_map, params)
    images, height, width = len(student_map), *student_map.shape[2:]
    terms = [torch.zeros((), dtype=student_map.dtype) for _ in range(4)]
    for image in range(images):
        student, teacher = student_map[image], teacher_map[image]
        image_boxes = [box for box, owner in zip(boxes.tolist(), image_index.tolist(), strict=True) if owner == image]
        foreground = paint(image_boxes, height, width)
        background = share_out(foreground)
        spatial, channel = attentions(teacher, temperature)
        for y in range(height):
            for x in range(width):
                square = sum(channel[c] * (student[c, y, x] - teacher[c, y, x]) ** 2 for c in range(len(teacher)))
                terms[0] = terms[0] + foreground[y][x] * spatial[y][x] * square
                terms[1] = terms[1] + background[y][x] * spatial[y][x] * square
        own_spatial, own_channel = attentions(student, temperature)
        for y in range(height):
            for x in range(width):
                terms[2] = terms[2] + (own_spatial[y][x] - spatial[y][x]).abs()
        for c in range(len(teacher)):
            terms[2] = terms[2] + (own_channel[c] - channel[c]).abs()
        gap = in_context(student, params, "student_context.") - in_context(teacher, params, "teacher_context.")
        terms[3] = terms[3] + (gap**2).sum()
    return [weight * term / images for weight, term in zip(weights, terms, strict=True)]


def align(student_map, params):
    """Mix channels cell by cell, if the loss has an alignment."""
    if "align.weight" not in params:
        return student_map
    matrix, offset = params["align.weight"][:, :, 0, 0], params["align.bias"]
    rows = []
    for out in range(len(matrix)):
        rows.append(offset[out] + sum(matrix[out, c] * student_map[:, c] for c in range(matrix.shape[1])))
    return torch.stack(rows, dim=1)


def paint(boxes, height, width):
    """Largest 1/area of the boxes that fill each cell, as rows of numbers."""
    weights = [[0.0] * width for _ in range(height)]
    for x, y, w, h in boxes:
        left, right = floor((x - w / 2) * width), ceil((x + w / 2) * width)
        top, bottom = floor((y - h / 2) * height), ceil((y + h / 2) * height)
        area = (right - left + 1) * (bottom - top + 1)
        for row in range(max(top, 0), min(bottom, height - 1) + 1):
            for column in range(max(left, 0), min(right, width - 1) + 1):
                weights[row][column] = max(weights[row][column], 1 / area)
    return weights


def share_out(foreground):
    """1/N on the N cells without foreground."""
    empty = sum(weight == 0 for row in foreground for weight in row)
    return [[1 / empty if weight == 0 else 0.0 for weight in row] for row in foreground]


def attentions(feature_map, temperature):
    """Spatial attention as rows of scalars and channel attention as a list of them, for one image."""
    channels, height, width = feature_map.shape
    cells = [feature_map[:, y, x].abs().sum() / channels for y in range(height) for x in range(width)]
    sizes = [feature_map[c].abs().sum() / (height * width) for c in range(channels)]
    spatial = [height * width * share for share in softmax([cell / temperature for cell in cells])]
    channel = [channels * share for share in softmax([size / temperature for size in sizes])]
    return [spatial[y * width : (y + 1) * width] for y in range(height)], channel


def softmax(scores):
    """Shares of the exponentials, shifted by the largest so that none overflows."""
    top = max(score.item() for score in scores)
    powers = [(score - top).exp() for score in scores]
    return [power / sum(powers) for power in powers]


def in_context(feature_map, params, prefix):
    """R(F) of one image: every cell plus the transformed mean of all cells, weighted by the key."""
    channels, height, width = feature_map.shape
    vectors = [feature_map[:, y, x] for y in range(height) for x in range(width)]
    key, key_bias = params[prefix + "key.weight"].flatten(), params[prefix + "key.bias"][0]
    shares = softmax([(key * vector).sum() + key_bias for vector in vectors])
    context = sum(share * vector for share, vector in zip(shares, vectors, strict=True))
    first, norm, last = (prefix + f"transform.{index}." for index in (0, 1, 3))
    hidden = params[first + "weight"][:, :, 0, 0] @ context + params[first + "bias"]
    mean = hidden.sum() / len(hidden)
    deviation = (((hidden - mean) ** 2).sum() / len(hidden) + 1e-5).sqrt()
    hidden = (hidden - mean) / deviation * params[norm + "weight"].flatten() + params[norm + "bias"].flatten()
    hidden = torch.stack([unit if unit > 0 else 0 * unit for unit in hidden])
    shift = params[last + "weight"][:, :, 0, 0] @ hidden + params[last + "bias"]
    return feature_map + shift.view(channels, 1, 1)
