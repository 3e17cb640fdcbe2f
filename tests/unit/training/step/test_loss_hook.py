"""The loss hook appends terms to the loss of Ultralytics, under autocast too, and detaches without a trace."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from fgd_yolo.training.step import distiller as distiller_module
from training import batch


def end_after_one_batch(ratio) -> None:
    ratio.decay_start, ratio.decay_end, ratio.run_batches = 0.5, 0.5, 2


def test_terms_are_appended_times_batch_size_and_as_items_per_image(joined):
    loss, items = joined.student(batch())
    joined.loss_hook.detach()
    plain, plain_items = joined.student(batch())
    assert list(items) == [*plain_items, "fg_loss", "bg_loss", "attn_loss", "rel_loss"]
    torch.testing.assert_close(loss[: len(plain)], plain)
    own = torch.stack([items[name] for name in list(items)[-4:]])
    torch.testing.assert_close(loss[len(plain) :], own * 2)
    assert not own.requires_grad and loss.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_terms_stay_float32_and_close_to_exact(joined, dtype):
    joined.distiller.first_batch_checked = True
    joined.distiller.features.ratio.target = None
    joined.student.eval()  # batch statistics would differ between the two passes
    joined.student.training = True
    _, exact = joined.student(batch())
    with torch.autocast("cpu", dtype=dtype):
        loss, items = joined.student(batch())
    for name in ("fg_loss", "bg_loss", "attn_loss", "rel_loss"):
        assert items[name].dtype == torch.float32
        torch.testing.assert_close(items[name], exact[name], rtol=0.1, atol=0)
    loss.sum().backward()


def test_gradients_reach_student_and_own_modules_but_not_the_teacher(joined):
    joined.student(batch())[0].sum().backward()
    assert joined.student.model[15].cv2.conv.weight.grad.any()
    assert all(loss.align.weight.grad.any() for loss in joined.distiller.losses)
    assert all(p.grad is None for p in joined.distiller.teachers[0].frozen.model.parameters())


def test_measuring_the_gradient_ratio_changes_no_gradient(joined):
    gradients = []
    for every in (1, 10**9):
        joined.student.zero_grad()
        ratio = joined.distiller.features.ratio
        ratio.epoch_ratios = [0.25] if every > 1 else []
        ratio.target, ratio.every, ratio.batches = None, every, 1
        joined.student(batch())[0].sum().backward()
        gradients.append([p.grad.clone() for p in joined.student.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_a_batch_without_boxes_trains_and_is_not_measured(joined):
    loss, items = joined.student(batch(boxes=0))
    assert items["fg_loss"] == 0 and items["bg_loss"] > 0
    assert not joined.distiller.features.ratio.epoch_ratios
    loss.sum().backward()


def test_after_the_end_the_loss_is_that_of_ultralytics_and_the_teacher_does_not_run(joined):
    end_after_one_batch(joined.distiller.features.ratio)
    joined.student(batch())
    joined.distiller.feature_teacher.frozen = None  # would fail if it were called
    loss, items = joined.student(batch())
    joined.loss_hook.detach()
    plain, _ = joined.student(batch())
    assert loss.sum().item() == pytest.approx(plain.sum().item())
    assert [items[name].item() for name in list(items)[-4:]] == [0, 0, 0, 0]


def test_after_the_end_of_the_feature_terms_the_head_terms_continue(heads_joined):
    distiller = heads_joined.distiller
    end_after_one_batch(distiller.features.ratio)
    heads_joined.student(batch())
    distiller.losses = None  # would fail if they were called
    loss, items = heads_joined.student(batch())
    assert [float(items[name]) > 0 for name in list(items)[-6:]] == [False] * 4 + [True] * 2
    loss.sum().backward()


def test_a_run_resumed_after_the_end_of_the_feature_terms_passes_its_first_check(joined, heads_joined):
    for one in (joined, heads_joined):
        ratio = one.distiller.features.ratio
        end_after_one_batch(ratio)
        ratio.batches = 1
        one.student(batch())[0].sum().backward()
        assert ratio.ended and one.distiller.first_batch_checked


def test_heads_have_their_own_terms_and_gradient_ratio(heads_joined):
    loss, items = heads_joined.student(batch())
    assert list(items)[-6:] == ["fg_loss", "bg_loss", "attn_loss", "rel_loss", "head_cls", "head_box"]
    assert items["head_cls"] > 0 and items["head_box"] > 0
    distiller = heads_joined.distiller
    assert distiller.features.ratio.current == pytest.approx(0.1)
    assert distiller.heads.ratio.current == pytest.approx(0.5)
    loss.sum().backward()
    assert heads_joined.student.model[-1].cv3[0][-1].weight.grad.any()
    heads_joined.loss_hook.detach()
    assert not heads_joined.student.model[-1]._forward_hooks


def test_a_branch_that_is_not_finite_is_dropped(heads_joined):
    distiller = heads_joined.distiller
    heads_joined.student(batch())
    distiller.teachers[0].frozen.head.cv3[0][-1].bias.data[:] = float("nan")
    loss, items = heads_joined.student(batch())
    assert items["head_cls"] == 0 and items["fg_loss"] > 0 and loss.isfinite().all() and distiller.dropped.known == 1


def test_in_eval_mode_the_loss_is_that_of_ultralytics(joined):
    joined.student.eval()
    _, items = joined.student(batch())
    assert "fg_loss" not in items


def test_a_detached_student_can_be_copied_and_is_as_ultralytics_built_it(joined):
    joined.student(batch())[0].sum().backward()
    with joined.loss_hook.detached():
        assert "loss" not in vars(joined.student)
        assert not joined.student.model[-1]._forward_pre_hooks
        copied = deepcopy(joined.student)
    assert "loss" in vars(joined.student) and "loss" not in vars(copied)
    joined.loss_hook.detach()
    joined.loss_hook.detach()
    with joined.loss_hook.detached():
        pass
    assert "loss" not in vars(joined.student), "detached() attached a hook that was not attached before"


def test_a_failed_loss_leaves_no_stored_map(joined):
    """After out of memory in Ultralytics' loss, stored maps would keep the graph alive during the retry."""
    joined.student.criterion = lambda preds, batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        joined.student(batch())
    assert joined.loss_hook._neck_hook._stored is None


def test_a_check_that_failed_with_an_error_is_repeated(joined, monkeypatch):
    calls = []

    def check(*_, **options):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(distiller_module, "check_first_batch", check)
    with pytest.raises(RuntimeError):
        joined.student(batch())
    joined.student(batch())
    joined.student(batch())
    assert len(calls) == 2
