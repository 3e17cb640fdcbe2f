"""Panels, scales and boxes of a figure, and its independence of the user's matplotlib settings."""

from __future__ import annotations

import cv2
import matplotlib
import numpy as np
import pytest
import torch

from fgd_yolo.attention.figure import draw_figure, explain_symbols, render, write_png
from fgd_yolo.attention.image_objects import ImageObjects
from fgd_yolo.attention.labelled_images import DETECTIONS
from fgd_yolo.methods.attention_maps import AttentionSettings


@pytest.fixture
def figure(example):
    return draw_figure(
        example.image, example.attention, "a$b$.jpg, epoch 3", explain_symbols(AttentionSettings(0.5, "paper"))
    )


def panels(figure) -> dict[str, list]:
    """The axes of a figure by name, a list from the finest level to the coarsest."""
    by_name: dict[str, list] = {}
    for axes in figure.axes:
        by_name.setdefault(axes.get_label(), []).append(axes)
    return by_name


def test_every_level_has_a_row_of_panels_and_the_first_row_has_titles(figure, example):
    axes_by_name = panels(figure)
    assert all(len(axes) == len(example.attention) for axes in axes_by_name.values())
    titles = {name: axes[0].get_title() for name, axes in axes_by_name.items()}
    assert titles == {
        "teacher": "teacher, $A_S$",
        "before": "before, $A_S$",
        "after": "after, $A_S$",
        "scale": "",
        "M": "mask M (boxes)",
        "S": "mask S (cell weights)",
        "S scale": "",
        "channels": "$|A_C$ student − $A_C$ teacher$|$",
    }
    assert [axes.get_ylabel() for axes in axes_by_name["teacher"]] == ["stride 8", "stride 16"]
    assert [axes.get_xlabel() for axes in axes_by_name["teacher"]] == ["8 × 8 cells", "4 × 4 cells"]


def test_a_panel_shows_the_values_of_its_level(figure, example):
    for number, level in enumerate(example.attention):
        heat = {name: axes[number].images[-1] for name, axes in panels(figure).items() if axes[number].images}
        np.testing.assert_array_equal(heat["teacher"].get_array(), level.teacher)
        np.testing.assert_array_equal(heat["after"].get_array(), level.students["after"])
        np.testing.assert_array_equal(heat["M"].get_array(), level.object_mask)
        np.testing.assert_array_equal(heat["S"].get_array(), level.scale_mask)
        assert panels(figure)["after"][number].get_xlabel().endswith(f" {level.spatial_difference('after'):.3f}")


def test_the_attention_maps_of_a_row_share_one_colour_scale(figure):
    for row in zip(*(panels(figure)[name] for name in ("teacher", "before", "after")), strict=True):
        assert len({axes.images[-1].get_clim() for axes in row}) == 1


def test_boxes_are_drawn_at_their_place_on_the_canvas(figure):
    for name in ("teacher", "before", "after", "M", "S"):
        for axes in panels(figure)[name]:
            corners = np.array([box.get_xy()[:4] for box in axes.patches])
            drawn = np.concatenate([corners[:, 0], corners[:, 2] - corners[:, 0]], axis=1)
            np.testing.assert_allclose(drawn, [[12.8, 6.4, 12.8, 25.6], [28.8, 22.4, 32, 32]], rtol=1e-5)
            np.testing.assert_allclose(corners[0, 1::2], [[25.6, 6.4], [12.8, 32]], rtol=1e-5)


@pytest.mark.parametrize("origin", ["labels", DETECTIONS])
def test_the_legend_names_the_source_of_the_boxes(example, origin):
    figure = draw_figure(example.image._replace(source=origin), example.attention, "", "")
    assert figure.legends[0].get_texts()[0].get_text() == f"boxes: {origin}"
    solid = panels(figure)["teacher"][0].patches[0].get_linestyle()
    assert solid == ("--" if origin == DETECTIONS else "-")


def test_an_image_without_boxes_is_drawn(example):
    weights = np.full((8, 8), 1 / 64, np.float32)
    level = example.attention[0]._replace(object_mask=weights > 1, scale_mask=weights)
    figure = draw_figure(example.image._replace(objects=ImageObjects(torch.zeros(0, 4))), [level], "", "")
    assert "none" in figure.legends[0].get_texts()[0].get_text()
    assert render(figure).std() > 10
    least, *_ = panels(figure)["S scale"][0].get_yticklabels()
    assert least.get_text() == "1/64"


def test_channels_that_cannot_be_compared_have_no_panel(example):
    figure = draw_figure(example.image, [level._replace(channel_differences={}) for level in example.attention], "", "")
    assert "channels" not in panels(figure) and "S" in panels(figure)


def test_the_channel_panel_names_the_mean_difference_of_each_student(figure, example):
    for axes, level in zip(panels(figure)["channels"], example.attention, strict=True):
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == [f"{name}, mean {level.channel_difference(name):.3f}" for name in ("before", "after")]


def test_a_figure_is_written_as_it_was_rendered(figure, tmp_path):
    image = render(figure)
    write_png(tmp_path / "new" / "a.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], image)
    assert image.shape[0] > 500 and image.std() > 10


def test_the_users_matplotlib_settings_have_no_effect_and_stay_unchanged(figure, example):
    plain = render(figure)
    with matplotlib.rc_context({"axes.facecolor": "red", "text.color": "red", "font.size": 30, "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        again = render(
            draw_figure(
                example.image, example.attention, "a$b$.jpg, epoch 3", explain_symbols(AttentionSettings(0.5, "paper"))
            )
        )
        assert dict(matplotlib.rcParams) == before
    np.testing.assert_array_equal(again, plain)
