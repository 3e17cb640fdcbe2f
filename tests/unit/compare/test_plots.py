from __future__ import annotations

from fgd_yolo.compare.plots import Band, draw_bands, seed_band


def test_a_curve_that_ends_before_the_last_quarter_is_only_in_the_first_panel():
    bands = {
        name: [Band(epoch, 0.5, 0.4, 0.6) for epoch in range(1, last + 1)] for name, last in (("plain", 40), ("fgd", 9))
    }
    all_epochs, last_quarter = draw_bands(bands, ["plain", "fgd"], "cells", "mAP50-95").axes
    assert [line.get_label() for line in all_epochs.lines] == ["plain", "fgd"]
    assert [line.get_label() for line in last_quarter.lines] == ["plain"]


def test_a_band_covers_the_epochs_that_all_seeds_have():
    curves = {
        ("cells", "fgd", 0): [{"epoch": 1, "map": 0.1}, {"epoch": 2, "map": 0.3}],
        ("cells", "fgd", 1): [{"epoch": 1, "map": 0.2}, {"epoch": 2, "map": 0.5}, {"epoch": 3, "map": 0.9}],
        ("cells", "plain", 0): [{"epoch": 1, "map": 0.7}],
        ("boards", "fgd", 0): [{"epoch": 1, "map": 0.8}],
    }
    first, second = seed_band(curves, "cells", "fgd", "map")
    assert (first.epoch, first.low, first.high) == (1, 0.1, 0.2)
    assert second == Band(2, 0.4, 0.3, 0.5)
    assert seed_band(curves, "cells", "fgd", "gradient_ratio") == []
