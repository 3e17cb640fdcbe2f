"""MGD: masked generative distillation, which generates the teacher's map from a part of the student's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.config.method_options import MGDOptions
from fgd_yolo.methods.method import FeatureTarget, LevelLoss
from fgd_yolo.methods.placement import to_device


class MGDTerms(NamedTuple):
    """The weighted term of one level."""

    generation: Tensor


class MGDLoss(LevelLoss):
    """Squared difference between the teacher's map and the one generated from random cells of the student's.

    Convention:
        In every image each cell of the student's aligned map is masked, all channels together, with a probability of
        `mask_ratio`, but one cell at least is kept. A generation block of two 3x3 convolutions with a ReLU between them
        turns the rest into a map, and the term is its mean squared difference from the teacher's over C, H, W and
        images. The block is trained with the student and is no part of it.
        Masks are drawn from a random stream of the module's own, which torch's random state seeds when the module is
        built. No other random stream is affected, and `state_dict` holds the stream's state, so a training that is
        resumed goes on with the masks that would have come next.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
        mask_ratio: probability with which a cell is masked, at least 0 and below 1.
        weight: factor of the term; at 0 it is not computed.

    Source:
        Masked Generative Distillation, arXiv:2205.01529, section 3. The authors may mask all cells of an image, and sum
        over C, H and W where this is a mean, so their weight of 2e-5 is one of 2e-5 * C * H * W here, which depends on
        the level and the image size.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, mask_ratio: float, weight: float = 1.0):
        super().__init__(student_channels, teacher_channels, MGDTerms(weight))
        self.mask_ratio = mask_ratio
        self.generation = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher_channels, teacher_channels, kernel_size=3, padding=1),
        )
        self.masks = torch.Generator().manual_seed(int(torch.randint(2**62, ())))

    @classmethod
    def from_options(cls, student_channels: int, teacher_channels: int, options: MGDOptions) -> MGDLoss:
        """Build the module of one level with the options of its method."""
        return cls(student_channels, teacher_channels, mask_ratio=options.mask_ratio, weight=options.generation_weight)

    def compare(self, student_map: Tensor, target: FeatureTarget) -> MGDTerms:
        """Return the weighted term of a student's map."""
        kept = kept_cells(len(student_map), student_map.shape[2:], self.mask_ratio, self.masks)
        generated = self.generation(student_map * to_device(kept, student_map.device))
        return MGDTerms(self.weights.generation * nn.functional.mse_loss(generated, target.map))

    def trained_weights(self, item: str) -> dict[str, Tensor]:
        """Return the alignment's weights and those of the generation block's first convolution."""
        return {**super().trained_weights(item), "generation block": self.generation[0].weight}

    def get_extra_state(self) -> Tensor:
        """Return the state of the random stream of the masks, a part of `state_dict`."""
        return self.masks.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` returned."""
        self.masks.set_state(state.cpu())


def kept_cells(images: int, grid: tuple[int, int], mask_ratio: float, generator: torch.Generator) -> Tensor:
    """Draw which cells are not masked.

    Args:
        images: B.
        grid: (H, W) of the level, in cells.
        mask_ratio: probability with which a cell is masked.
        generator: random stream on the CPU, so that all devices mask the same cells.

    Returns:
        (B, 1, H, W) of bool, True for a cell that is kept: of every image at least one, since the coarsest level of a
        small image has few.
    """
    drawn = torch.rand((images, 1, *grid), generator=generator)
    return (drawn >= mask_ratio) | (drawn == drawn.amax(dim=(2, 3), keepdim=True))
