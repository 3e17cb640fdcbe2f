"""Properties of every method in the table `METHODS`."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import pytest
import torch

from fgd_yolo.config import METHOD_OPTIONS, FGDConfig
from fgd_yolo.methods import HEAD_TERMS, METHODS, LabelledObjects, build_level_loss
from fgd_yolo.methods.box_masks import foreground_weights
from unit.methods.cases import GRID, make_boxes, make_maps

BOXES = make_boxes("random")
SCORES = torch.linspace(0.05, 0.95, 64).view(2, *GRID)


def make_level(name: str, student_channels: int = 3, teacher_channels: int = 5, **options):
    """The loss module of one level, with randomised parameters so that none is without gradient."""
    torch.manual_seed(3)
    loss = build_level_loss(student_channels, teacher_channels, [name], METHOD_OPTIONS[name](**options))
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return loss


def compare(loss, student_map, teacher_map, boxes=BOXES, foreground=None):
    """The terms, with scores for the methods that need them."""
    return loss(student_map, teacher_map, *boxes, foreground, SCORES if loss.needs_scores else None)


def off(name: str) -> dict[str, float]:
    """All weights of a method, 0."""
    return {option: 0.0 for option in METHOD_OPTIONS[name].model_fields if option.endswith("_weight")}


@pytest.fixture(params=METHODS)
def name(request) -> str:
    return request.param


def test_the_loss_items_are_the_terms_in_their_order(name):
    terms = compare(make_level(name), *make_maps(3, 5))
    assert list(METHOD_OPTIONS[name]().weights) == [f"{term}_loss" for term in terms._fields]


def test_every_term_has_a_weight_that_multiplies_it_and_switches_it_off(name):
    maps = make_maps(3, 5)
    for option in off(name):
        item = option.replace("_weight", "_loss")
        for weight in (0.0, 1.0, 3.0):
            options = {**off(name), option: weight}
            assert METHOD_OPTIONS[name](**options).weights == {
                **METHOD_OPTIONS[name](**off(name)).weights,
                item: weight,
            }
        one, three = (compare(make_level(name, **{**off(name), option: weight}), *maps) for weight in (1.0, 3.0))
        term = option.removesuffix("_weight")
        assert getattr(one, term) > 0 and getattr(three, term).item() == pytest.approx(3 * getattr(one, term).item())
        assert sum(one).item() == pytest.approx(getattr(one, term).item()), "the others are off"


@pytest.mark.parametrize("method", [*METHODS, "fgd+score_l2"])
def test_a_target_that_another_thread_has_prepared_gives_the_same_terms(method):
    """As beside the student: with other autocast and grad modes than those of the loss, and no random number drawn."""
    torch.manual_seed(3)
    loss = build_level_loss(3, 5, method.split("+"), FGDConfig(method=method).features)
    student_map, teacher_map = make_maps(3, 5)
    objects, masks = LabelledObjects(*BOXES, None, SCORES), copy.deepcopy(loss)
    targets, state = [], torch.get_rng_state()

    def prepare():
        with torch.autocast("cpu", torch.bfloat16):
            targets.append(loss.prepare(teacher_map.requires_grad_(), objects))

    thread = threading.Thread(target=prepare)
    thread.start()
    thread.join()
    assert torch.equal(torch.get_rng_state(), state)
    terms = loss.terms(student_map, targets[0])
    assert torch.equal(torch.stack(terms), torch.stack(masks(student_map, teacher_map, *objects)))
    sum(terms).backward()
    assert student_map.grad.any() and teacher_map.grad is None


def test_with_weights_of_0_nothing_is_computed(name):
    student_map, teacher_map = make_maps(4, 4)
    terms = make_level(name, 4, 4, **off(name))(student_map, torch.full_like(teacher_map, torch.nan), *BOXES)
    assert not any(terms) and not any(term.requires_grad for term in terms)


def test_every_term_reaches_the_map_and_the_weights_that_it_names_as_trained(name):
    loss = make_level(name)
    student_map, teacher_map = make_maps(3, 5)
    terms = compare(loss, student_map, teacher_map)
    for item, term in zip(METHOD_OPTIONS[name]().weights, terms, strict=True):
        trained = loss.trained_weights(item)
        assert "alignment" in trained
        for gradient in torch.autograd.grad(term, [student_map, *trained.values()], retain_graph=True):
            assert gradient.isfinite().all() and gradient.any(), item


def test_equal_widths_have_no_alignment_to_train(name):
    loss = make_level(name, 4, 4)
    assert loss.align is None
    assert all("alignment" not in loss.trained_weights(item) for item in METHOD_OPTIONS[name]().weights)


# `mgd` generates the teacher's map from a part of the student's, so it has a loss even then.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "mgd"])
def test_a_student_that_equals_its_teacher_has_no_loss(name):
    student_map, _ = make_maps(4, 4)
    # Not trained yet: the context blocks return their input.
    loss = build_level_loss(4, 4, [name], METHOD_OPTIONS[name]())
    assert sum(compare(loss, student_map, student_map.detach())).item() == pytest.approx(0, abs=1e-6)


def test_large_half_precision_maps_stay_finite_and_the_teacher_gets_no_gradient(name):
    student_map, teacher_map = make_maps(3, 5, dtype=torch.float16)
    student_map = (student_map.detach() * 5000).requires_grad_()
    teacher_map = (teacher_map * 5000).requires_grad_()
    loss = make_level(name)
    with torch.autocast("cpu", dtype=torch.float16):
        total = sum(compare(loss, student_map, teacher_map))
    (1e-6 * total).backward()
    assert total.dtype == torch.float32 and total.isfinite() and student_map.grad.isfinite().all()
    assert teacher_map.grad is None


def test_images_without_boxes_are_allowed(name):
    assert all(
        term.isfinite() for term in compare(make_level(name), *make_maps(3, 5), make_boxes("all images without"))
    )


def test_a_foreground_with_the_weights_of_the_boxes_changes_nothing(name):
    maps = make_maps(3, 5)
    painted = foreground_weights(*BOXES, len(maps[0]), maps[0].shape[2:])
    no_boxes = make_boxes("all images without")
    terms = compare(make_level(name), *maps, no_boxes, painted)
    for term, wanted in zip(terms, compare(make_level(name), *maps), strict=True):
        assert torch.equal(term, wanted)


def test_boxes_matter_only_to_a_method_that_says_so(name):
    maps = make_maps(3, 5)
    terms = compare(make_level(name), *maps)
    others = compare(make_level(name), *maps, make_boxes("border-touching"))
    assert (terms != others) is METHOD_OPTIONS[name].needs_boxes


@pytest.mark.parametrize("images", [1, 2])
def test_a_map_of_one_cell_is_allowed(name, images):
    maps = make_maps(3, 5, images=images, grid=(1, 1))
    loss = make_level(name)
    scores = torch.full((images, 1, 1), 0.5) if loss.needs_scores else None
    terms = loss(*maps, torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([0]), scores=scores)
    assert all(term.isfinite() for term in terms)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(sum(terms), maps[0]))


def test_different_grids_are_refused_naming_both(name):
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\).*\(2, 5, 4, 8\)"):
        make_level(name)(torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 8), *BOXES)


def test_the_configuration_passes_the_options_on(name):
    config = FGDConfig(method=name, features=off(name))
    assert not config.active
    assert config.features == METHOD_OPTIONS[name](**off(name))
    assert isinstance(build_level_loss(3, 5, [name], config.features), METHODS[name])


def test_every_method_has_a_loss_module_or_head_terms():
    terms = {}
    for name, options in METHOD_OPTIONS.items():
        if name not in METHODS:
            terms |= {item.removeprefix("head_"): name for item in options().weights}
    assert [*METHODS, *dict.fromkeys(terms.values())] == [*METHOD_OPTIONS] and {*terms} <= {*HEAD_TERMS}


def test_composed_methods_are_the_methods_side_by_side():
    """Each keeps its own alignment, terms and trained weights."""
    options = FGDConfig(method="fgd+cwd").features
    torch.manual_seed(3)
    together = build_level_loss(3, 5, ["fgd", "cwd"], options)
    maps = make_maps(3, 5)
    alone = [term for loss in together.losses.values() for term in loss(*maps, *BOXES)]
    assert torch.equal(torch.stack(together(*maps, *BOXES)), torch.stack(alone)) and len(alone) == len(options.weights)
    assert together.trained_weights("channel_loss")["alignment"] is together.losses["cwd"].align.weight
    assert together.trained_weights("fg_loss")["alignment"] is together.losses["fgd"].align.weight
    no_boxes = make_boxes("all images without")
    assert together.is_empty("fg_loss", *no_boxes, 2, (8, 8))
    assert not together.is_empty("channel_loss", *no_boxes, 2, (8, 8))


def test_the_state_of_composed_methods_holds_the_weights_and_the_masks_of_each():
    options, maps = FGDConfig(method="fgd+mgd").features, make_maps(3, 5)
    saved, restored = (build_level_loss(3, 5, ["fgd", "mgd"], options) for _ in range(2))
    saved(*maps, *BOXES)  # its next masks are not the first
    restored.load_state_dict(saved.state_dict())
    assert torch.equal(*(torch.stack(loss(*maps, *BOXES)) for loss in (saved, restored)))


@pytest.mark.parametrize("name", METHOD_OPTIONS)
def test_the_docs_have_a_section_for_the_method(name):
    assert f"\n## {name}\n" in (Path(__file__).parents[3] / "docs/concepts/methods.md").read_text(encoding="utf-8")
