"""The one check of boxes, and the parts of a mask against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from magical_hub.boxes import box_of, checked_box, connected_parts
from magical_hub.errors import DataError

SIZE = 48, 64


@given(st.floats(-70, 70), st.floats(-70, 70), st.floats(1, 90), st.floats(1, 90))
def test_a_box_is_clipped_to_its_image_or_refused(x, y, width, height):
    """What is left is what both cover; a box inside stays to the bit."""
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, 64), min(y + height, 48)
    if right <= left or bottom <= top:
        with pytest.raises(DataError, match=r"row 3 has the box .* outside the image of 48 x 64: correct it"):
            checked_box([x, y, width, height], SIZE, "row 3")
        return
    box = checked_box([x, y, width, height], SIZE, "row 3")
    assert box == pytest.approx((left, top, right - left, bottom - top), abs=1e-9)
    assert min(box) >= 0 and box[0] + box[2] <= 64 and box[1] + box[3] <= 48
    if x >= 0 and y >= 0 and x + width <= 64 and y + height <= 48:
        assert box == (x, y, width, height)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"has the box \[\]: give four numbers"),
        ([1, 2, 3], r"has the box \[1, 2, 3\]: give four numbers"),
        ([1, 2, 3, 4, 0.9], "give four numbers"),
        ([None] * 4, "give four numbers"),
        (["1", 2, 3, 4], "give four numbers"),
        ([1, 2, float("nan"), 4], "give four numbers"),
        ([10, 10, 0, 5], "has no area"),
        ([10, 10, 5, -5], "has no area"),
        ([0.5, 0.6, 0.2, 0.1], r"looks like shares of the image \(0 to 1\): give pixels"),
    ],
)
def test_what_is_no_box_is_refused_in_one_line(values, message):
    with pytest.raises(DataError, match=message) as error:
        checked_box(values, SIZE, "row 3")
    assert str(error.value).startswith("row 3 has the box") and "\n" not in str(error.value)


def test_a_pixel_at_the_origin_is_a_box():
    assert checked_box([0, 0, 1, 1], SIZE, "row 3") == (0, 0, 1, 1)


@given(arrays(bool, (9, 12)))
def test_the_parts_of_a_mask(mask):
    numbers, boxes = connected_parts(mask)
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    assert len(boxes) == count and np.array_equal(numbers > 0, mask)
    firsts = [np.flatnonzero(numbers == number)[0] for number in range(1, count + 1)]
    assert firsts == sorted(firsts)
    for number, box in enumerate(boxes, 1):
        part = numbers == number
        assert len({*expected[part]}) == 1 and np.array_equal(part, expected == expected[part][0])
        assert box == box_of(part)
