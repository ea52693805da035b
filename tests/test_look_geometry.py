"""Which squares of a photo the support looks show, and how well they are made."""

import numpy as np
import pytest
from PIL import Image

from litecli.config import MOST_SUPPORT_LOOKS
from litecli.photos.support_looks import FARTHEST, SHARES, STEEPEST, support_looks, to_support_looks


def test_the_first_looks_are_the_same_however_many_there_are() -> None:
    most = support_looks(MOST_SUPPORT_LOOKS)
    assert [support_looks(n) == most[:n] for n in (0, 1, 8)] == [True] * 3


@pytest.mark.parametrize("count", [8, 16, MOST_SUPPORT_LOOKS])
def test_looks_spread_over_all_that_they_may_be(count: int) -> None:
    looks = support_looks(count)
    for name, low, high in (
        ("share", *SHARES),
        ("across", -FARTHEST, FARTHEST),
        ("down", -FARTHEST, FARTHEST),
        ("degrees", -STEEPEST, STEEPEST),
    ):
        values = np.array([getattr(look, name) for look in looks])
        assert low <= values.min() and values.max() <= high
        quarters = np.histogram(values, 4, (low, high))[0]
        assert quarters.min() >= count // 8  # where chance alone would leave a quarter empty
    mirrored = [look for look in looks if look.mirrored]
    assert len(mirrored) == count // 2
    for half in (mirrored, [look for look in looks if not look.mirrored]):
        assert {look.degrees > 0 for look in half} == {True, False}  # they lean to both sides


def test_the_looks_are_those_that_were_measured() -> None:
    """The accuracies in pocket's card are of these: whoever changes them measures anew."""
    assert support_looks(2) == [
        pytest.approx((0.724836, -0.106443, -0.148517, -18.456110, False), abs=1e-6),
        pytest.approx((0.674672, 0.187113, 0.102965, 3.087781, True), abs=1e-6),
    ]


def ramp(width: int, height: int) -> Image.Image:
    """A picture whose red is the place across and whose green the place down, 0 to 255."""
    down, across = np.mgrid[:height, :width]
    places = np.stack([across * 255 / (width - 1), down * 255 / (height - 1), 0 * down], axis=2)
    return Image.fromarray(places.round().astype(np.uint8))


@pytest.mark.parametrize("size", [(400, 400), (640, 400), (300, 500)])
def test_a_look_shows_its_square(size: tuple[int, int]) -> None:
    count, side = 12, 64
    squares = to_support_looks(ramp(*size), count, side).astype(float)
    assert squares.shape == (count, side, side, 3)
    short = min(size)
    for square, look in zip(squares, support_looks(count), strict=True):
        red, green = square[..., 0] * size[0] / 255, square[..., 1] * size[1] / 255
        angle = np.radians(look.degrees)
        room = look.share * (np.cos(angle) + abs(np.sin(angle)) + 4 / side)  # at most
        if room > 1:
            continue  # smaller than asked for: the next test
        share = look.share * short
        # One pixel to the right in a square that was turned counter-clockwise goes so far in the
        # photo; mirrored, the other way.
        across = np.array([np.cos(angle), np.sin(angle)]) * (-1 if look.mirrored else 1)
        down = np.array([-np.sin(angle), np.cos(angle)])
        inner = slice(8, -8)
        for axis, expected in ((1, across), (0, down)):
            steps = [np.gradient(part, axis=axis)[inner, inner].mean() for part in (red, green)]
            np.testing.assert_allclose(np.array(steps) * side / share, expected, atol=0.03)
        for part, length, moved in ((red, size[0], look.across), (green, size[1], look.down)):
            half = room * short / 2
            middle = min(max(length / 2 + moved * short, half), length - half)
            assert part.mean() == pytest.approx(middle, abs=0.04 * short)


def test_a_look_is_as_sharp_as_its_pixels_allow_and_no_sharper() -> None:
    """It is near the same square with four times the pixels a side, averaged.

    Grey levels of 255, on average: bilinear 3.7, bicubic, which sharpens, 6.7, nearest 14; shrunk
    beforehand to fewer pixels than the closest look has, 12 and more.
    """
    grain = np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    picture = Image.fromarray(grain).resize((1200, 900), Image.Resampling.BICUBIC)
    count, side = 8, 96
    large = to_support_looks(picture, count, 4 * side).astype(float)
    averaged = large.reshape(count, side, 4, side, 4, 3).mean(axis=(2, 4))
    looks = to_support_looks(picture, count, side)
    assert np.abs(looks - averaged).mean() < 5


@pytest.mark.parametrize("size", [(40, 40), (35, 900), (700, 300)])
def test_a_look_never_leaves_the_photo(size: tuple[int, int]) -> None:
    white = Image.new("RGB", size, "white")
    for side in (31, 32, 50, 64, 96, 192, 224):
        squares = to_support_looks(white, MOST_SUPPORT_LOOKS, side)
        assert squares.min() == 255  # turning fills with black what lies outside
