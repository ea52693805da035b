"""Pictures put together from several images: what shows where, at any size, from a seed alone."""

import numpy as np
import pytest
import torch

from litecli.composites import MOST_PARTS, Part, composite, picture

SIDES = np.array([40, 64, 50, 31, 90])


def flat(number: int) -> np.ndarray:
    """A square of one grey level, by which its place is known again."""
    return np.full((SIDES[number], SIDES[number], 3), 50 * number, np.uint8)


def kinds(count: int = 60) -> list[tuple[Part, ...]]:
    return [composite([4, 1, 2, 3], SIDES, 0.35, np.random.default_rng(k)) for k in range(count)]


def test_a_composite_is_a_mosaic_an_inset_or_a_blend_and_always_of_the_first() -> None:
    drawn = kinds()
    mosaics = [parts for parts in drawn if len(parts) == MOST_PARTS]
    insets = [parts for parts in drawn if len(parts) == 2 and parts[1].opacity == 1]
    blends = [parts for parts in drawn if len(parts) == 2 and parts[1].opacity < 1]
    assert len(mosaics) + len(insets) + len(blends) == len(drawn)
    assert min(len(mosaics), len(insets), len(blends)) > 10
    for parts in mosaics:
        assert sorted(part.number for part in parts) == [1, 2, 3, 4] and parts[0].number == 4
        areas = [(b - t) * (r - le) for t, le, b, r in (part.place for part in parts)]
        assert sum(areas) == pytest.approx(1) and min(areas) > 0.1
    assert len({parts[0].place[:2] == (0, 0) for parts in mosaics}) == 2  # in any corner
    for parts in insets + blends:
        assert [part.number for part in parts] == [4, 1]
        assert all(0 <= edge <= 1 for edge in parts[1].place)
    assert all(0.25 <= parts[1].opacity <= 0.5 for parts in blends)
    assert kinds() == drawn


@pytest.mark.parametrize("side", [32, 75])
def test_every_pixel_shows_the_part_that_lies_on_top(side: int) -> None:
    for parts in kinds(20):
        expected = torch.zeros(side, side)
        for part in parts:
            top, left, bottom, right = (round(edge * side) for edge in part.place)
            spot = expected[top:bottom, left:right]
            spot.mul_(1 - part.opacity).add_(50 * part.number * part.opacity)
        found = picture(parts, flat, side)
        assert found.shape == (3, side, side) and found.dtype == torch.uint8
        assert (found.float() - expected).abs().max() <= 0.5 + 1e-3


def test_crops_are_cut_from_their_own_image() -> None:
    ramp = np.arange(64, dtype=np.uint8)[:, None, None].repeat(64, 1).repeat(3, 2)
    crop = picture([Part(0, (10, 0, 20, 64))], lambda _: ramp, 20)
    assert crop[0, :, 0].tolist() == list(range(10, 30))
