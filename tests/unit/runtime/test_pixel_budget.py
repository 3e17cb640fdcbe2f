from __future__ import annotations

import math

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget


def test_the_limit_itself_is_allowed_and_one_pixel_more_is_not():
    budget = PixelBudget(12)
    budget.check(4000, 3000)
    with pytest.raises(
        ImageTooLargeError, match=r"^4001 x 3000 px are 12\.003 megapixels, above the limit of 12; raise"
    ):
        budget.check(4001, 3000)


def test_a_format_that_needs_twice_the_bytes_may_have_half_the_pixels():
    budget = PixelBudget(12)
    budget.check(3000, 2000, bytes_per_pixel=12)
    with pytest.raises(ImageTooLargeError, match=r"take 108 MB to decode, above the limit of 72;"):
        budget.check(3000, 3000, bytes_per_pixel=12)


def test_a_file_has_at_most_six_bytes_for_each_pixel_of_the_limit():
    PixelBudget(1).check_bytes(6_000_000)
    with pytest.raises(ImageTooLargeError, match="6 MB are above the limit of 6"):
        PixelBudget(1).check_bytes(6_000_001)


def test_streams_share_one_limit_and_return_their_pixels():
    budget = PixelBudget(10)
    first, second, third = budget.for_stream(), budget.for_stream(), budget.for_stream()
    first.check(2000, 2000)
    second.check(2000, 2000)
    with pytest.raises(
        ImageTooLargeError, match=r"the streams would have 12 megapixels together, above the limit of 10; remove"
    ):
        third.check(2000, 2000)
    third.check(1000, 1000)
    first.check(3000, 1000)  # a change of size counts once
    second.release()
    third.check(3000, 2000)
    with pytest.raises(ImageTooLargeError):
        first.check(2500, 2000)
    third.release()
    first.check(2500, 2000)


@pytest.mark.parametrize("megapixels", [0, -1, math.nan, math.inf, True, "150"])
def test_a_limit_must_be_a_number_above_zero(megapixels):
    with pytest.raises(UsageError, match="must be a number above 0"):
        PixelBudget(megapixels)
