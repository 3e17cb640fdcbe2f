"""A figure shows what it says: panels, scales, boxes; and leaves the user's matplotlib alone."""

from __future__ import annotations

import cv2
import matplotlib
import numpy as np
import pytest

from fgd_yolo.attention.figure import draw_views, explanation, pixels, write_png
from fgd_yolo.attention.photos import DETECTIONS
from fgd_yolo.attention.views import Lens


@pytest.fixture
def figure(seen):
    return draw_views(seen.photo, seen.views, "a$b$.jpg, epoch 3", explanation(Lens(0.5, "paper")))


def panels(figure) -> dict[str, list]:
    """The axes of a figure by name, a list from the finest level to the coarsest."""
    found: dict[str, list] = {}
    for axes in figure.axes:
        found.setdefault(axes.get_label(), []).append(axes)
    return found


def test_every_level_has_a_row_of_panels_and_the_first_row_says_what_they_are(figure, seen):
    found = panels(figure)
    assert all(len(axes) == len(seen.views) for axes in found.values())
    titles = {name: axes[0].get_title() for name, axes in found.items()}
    assert titles == {
        "teacher": "teacher, $A_S$",
        "before": "before, $A_S$",
        "after": "after, $A_S$",
        "scale": "",
        "M": "mask M (boxes)",
        "S": "mask S (weight of a cell)",
        "S scale": "",
        "channels": "$|A_C$ student − $A_C$ teacher$|$",
    }
    assert [axes.get_ylabel() for axes in found["teacher"]] == ["stride 8", "stride 16"]
    assert [axes.get_xlabel() for axes in found["teacher"]] == ["8 × 8 cells", "4 × 4 cells"]


def test_a_panel_holds_the_values_of_its_view(figure, seen):
    for number, view in enumerate(seen.views):
        heat = {name: axes[number].images[-1] for name, axes in panels(figure).items() if axes[number].images}
        np.testing.assert_array_equal(heat["teacher"].get_array(), view.teacher)
        np.testing.assert_array_equal(heat["after"].get_array(), view.students["after"])
        np.testing.assert_array_equal(heat["M"].get_array(), view.inside)
        np.testing.assert_array_equal(heat["S"].get_array(), view.size_weight)
        assert panels(figure)["after"][number].get_xlabel().endswith(f" {view.spatial_gap('after'):.3f}")


def test_attentions_of_a_row_share_one_colour_scale(figure):
    for row in zip(*(panels(figure)[name] for name in ("teacher", "before", "after")), strict=True):
        assert len({axes.images[-1].get_clim() for axes in row}) == 1


def test_boxes_lie_where_they_are_on_the_canvas(figure):
    for name in ("teacher", "before", "after", "M", "S"):
        for axes in panels(figure)[name]:
            drawn = [(box.get_x(), box.get_y(), box.get_width(), box.get_height()) for box in axes.patches]
            np.testing.assert_allclose(drawn, [[12.8, 6.4, 12.8, 25.6], [28.8, 22.4, 32, 32]], rtol=1e-5)


@pytest.mark.parametrize("origin", ["labels", DETECTIONS])
def test_the_legend_says_whose_boxes_they_are(seen, origin):
    figure = draw_views(seen.photo._replace(boxes_from=origin), seen.views, "", "")
    assert figure.legends[0].get_texts()[0].get_text() == f"boxes: {origin}"
    solid = panels(figure)["teacher"][0].patches[0].get_linestyle()
    assert solid == ("--" if origin == DETECTIONS else "-")


def test_an_image_without_boxes_is_drawn_too(seen):
    weights = np.full((8, 8), 1 / 64, np.float32)
    view = seen.views[0]._replace(inside=weights > 1, size_weight=weights)
    figure = draw_views(seen.photo._replace(boxes=seen.photo.boxes[:0]), [view], "", "")
    assert "none" in figure.legends[0].get_texts()[0].get_text()
    assert pixels(figure).std() > 10
    least, *_ = panels(figure)["S scale"][0].get_yticklabels()
    assert least.get_text() == "1/64"


def test_channels_that_cannot_be_compared_have_no_panel(seen):
    figure = draw_views(seen.photo, [view._replace(channel_gaps={}) for view in seen.views], "", "")
    assert "channels" not in panels(figure) and "S" in panels(figure)


def test_the_channel_panel_names_the_mean_gap_of_each_student(figure, seen):
    for axes, view in zip(panels(figure)["channels"], seen.views, strict=True):
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == [f"{name}, mean {view.channel_gap(name):.3f}" for name in ("before", "after")]


def test_a_picture_is_written_as_it_was_drawn(figure, tmp_path):
    image = pixels(figure)
    write_png(tmp_path / "new" / "a.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], image)
    assert image.shape[0] > 500 and image.std() > 10


def test_the_users_settings_neither_show_nor_change(figure, seen):
    plain = pixels(figure)
    with matplotlib.rc_context({"axes.facecolor": "red", "text.color": "red", "font.size": 30, "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        again = pixels(draw_views(seen.photo, seen.views, "a$b$.jpg, epoch 3", explanation(Lens(0.5, "paper"))))
        assert dict(matplotlib.rcParams) == before
    np.testing.assert_array_equal(again, plain)
