"""oneDNN computes the 1x1 convolutions of teachers and alignments on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fgd_yolo.config import FGDConfig
from fgd_yolo.methods import build_level_loss
from fgd_yolo.training.speed.pointwise import prefer_onednn, prefer_onednn_in_alignments


def convolutions(run) -> set[str]:
    """Names of the operators that a function runs and that compute convolutions."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return {event.key for event in profile.key_averages()} & {"aten::_slow_conv2d_forward", "aten::mkldnn_convolution"}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")
def test_torch_gives_a_1x1_convolution_to_onednn_and_its_results_stay_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 1), nn.Conv2d(32, 8, 1, stride=2))
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    before = model(images)
    wanted = torch.autograd.grad(before.square().sum(), [images, *model.parameters()])
    assert torch.get_num_threads() == 1 and "aten::_slow_conv2d_forward" in convolutions(lambda: model(images))
    prefer_onednn(model)
    assert [layer.dilation for layer in model] == [(1, 1), (2, 2), (1, 1)]
    assert convolutions(lambda: model(images)) == {"aten::mkldnn_convolution"}
    after = model(images)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(torch.autograd.grad(after.square().sum(), [images, *model.parameters()]), wanted)


def test_alignments_alone_are_changed_those_of_composed_methods_too():
    losses = nn.ModuleList([build_level_loss(4, 8, ["fgd", "cwd"], FGDConfig(method="fgd+cwd").features)])
    prefer_onednn_in_alignments(losses)
    changed = {name for name, layer in losses.named_modules() if getattr(layer, "dilation", 1) == (2, 2)}
    assert changed == {"0.losses.fgd.align", "0.losses.cwd.align"}
