"""Pictures put together from several images: what shows where, at any size, from a seed alone."""

import numpy as np
import pytest
import torch

from litecli.pictures.composites import (
    MOST_PARTS,
    TILES,
    Pictures,
    draw_pictures,
    picture,
    single_pictures,
)

SIDES = np.array([40, 64, 50, 31, 90])
COUNT = 120


def flat(number: int) -> np.ndarray:
    """A square of one grey level, by which its place is known again."""
    return np.full((SIDES[number], SIDES[number], 3), 50 * number, np.uint8)


def drawn(mix: float = 1.0, seed: int = 0) -> Pictures:
    numbers = np.arange(COUNT) % len(SIDES)
    return draw_pictures(numbers, SIDES, mix, 0.35, np.random.default_rng(seed))


def test_a_composite_is_a_mosaic_an_inset_or_a_blend_and_always_of_the_first() -> None:
    pictures = drawn()
    parts = (pictures.opacities > 0).sum(axis=1)
    glass = ((pictures.opacities > 0) & (pictures.opacities < 1)).any(axis=1)
    kinds = {tiles: np.flatnonzero(parts == tiles**2) for tiles in TILES}
    insets, blends = np.flatnonzero((parts == 2) & ~glass), np.flatnonzero((parts == 2) & glass)
    assert sum(map(len, kinds.values())) + len(insets) + len(blends) == COUNT
    assert min(map(len, (*kinds.values(), insets, blends))) > 10
    assert not pictures.single.any() and drawn(0.0).single.all()
    assert pictures.numbers[:, 0].tolist() == (np.arange(COUNT) % len(SIDES)).tolist()
    for tiles, rows in kinds.items():
        places = pictures.places[rows, : tiles**2]
        areas = (places[..., 2:] - places[..., :2]).prod(axis=-1)
        np.testing.assert_allclose(areas.sum(axis=1), 1)
        assert areas.min() > 0.2 / tiles**2
        corners = {tuple(place) for place in (places[:, 0, :2] == 0).tolist()}
        assert len(corners) == 4  # the first image is anywhere
    assert (pictures.places[insets, 1] >= 0).all() and (pictures.places[insets, 1] <= 1).all()
    seen = pictures.opacities[blends, 1]
    assert seen.min() >= 0.25 and seen.max() <= 0.5
    again = drawn()
    for field in ("numbers", "crops", "places", "opacities", "mirrored"):
        np.testing.assert_array_equal(getattr(again, field), getattr(pictures, field))
    assert 0.3 < pictures.mirrored.mean() < 0.7


def test_the_share_of_composites_is_what_was_asked_for() -> None:
    share = np.mean([1 - drawn(0.25, seed).single.mean() for seed in range(20)])
    assert share == pytest.approx(0.25, abs=0.03)


def test_crops_stay_inside_their_image_and_keep_their_area() -> None:
    least = np.array([0.9, 0.1, 0.5, 0.35, 0.2])
    pictures = draw_pictures(np.arange(5), SIDES, 1.0, least, np.random.default_rng(1))
    top, left, height, width = np.moveaxis(pictures.crops, -1, 0)
    sides = SIDES[pictures.numbers]
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= sides).all() and (left + width <= sides).all()
    shares = height * width / sides**2
    assert (shares > 0.75 * least[pictures.numbers]).all()  # the side may cut an aspect ratio
    assert pictures.crops.shape == (5, MOST_PARTS, 4)


@pytest.mark.parametrize("side", [32, 75])
def test_every_pixel_shows_the_part_that_lies_on_top(side: int) -> None:
    pictures = drawn()
    for row in range(40):
        expected = torch.zeros(side, side)
        for k in np.flatnonzero(pictures.opacities[row]):
            top, left, bottom, right = np.rint(pictures.places[row, k] * side).astype(int)
            spot, opacity = expected[top:bottom, left:right], pictures.opacities[row, k]
            spot.mul_(1 - opacity).add_(50 * pictures.numbers[row, k] * opacity)
        if pictures.mirrored[row]:
            expected = expected.flip(-1)
        found = picture(pictures, row, flat, side)
        assert found.shape == (3, side, side) and found.dtype == torch.uint8
        assert (found.float() - expected).abs().max() <= 0.5 + 1e-3


def test_crops_are_cut_from_their_own_image() -> None:
    ramp = np.arange(64, dtype=np.uint8)[:, None, None].repeat(64, 1).repeat(3, 2)
    pictures = single_pictures(np.array([0]), np.array([[10, 0, 20, 64]]), np.array([False]))
    crop = picture(pictures, 0, lambda _: ramp, 20)
    assert crop[0, :, 0].tolist() == list(range(10, 30))
