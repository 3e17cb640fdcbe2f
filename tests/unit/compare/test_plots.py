from __future__ import annotations

from fgd_yolo.compare.plots import Band, bands_over_epochs


def test_a_curve_that_ends_before_the_last_quarter_is_in_the_first_panel_alone():
    bands = {
        name: [Band(epoch, 0.5, 0.4, 0.6) for epoch in range(1, last + 1)] for name, last in (("plain", 40), ("fgd", 9))
    }
    whole, late = bands_over_epochs(bands, ["plain", "fgd"], "cells", "mAP50-95").axes
    assert [line.get_label() for line in whole.lines] == ["plain", "fgd"]
    assert [line.get_label() for line in late.lines] == ["plain"]
