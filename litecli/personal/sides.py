"""Objects that are small or at the side of a photo, where the centre square does not show them.

A photo whose centre is known is answered by its centre. Of other wide or tall photos three squares
are looked at too, closer up: at both ends and in the middle. Four looks are four chances to take a
stranger for an object, and what resembles the objects all over is no object. So a square counts
only as far as it stands out: its novelty is compared with the mean of the other looks. How far it
must was chosen on caltech101, so that strangers on wide photos are taken for an object no more
than two points more often than by their centres alone (tests/benchmarks/side_objects.py). No torch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from litecli.config import Preprocess
from litecli.photos import images

if TYPE_CHECKING:
    from PIL.Image import Image

WIDE = 1.2  # longer through shorter side, from which a photo is looked at again
SQUARE = 0.6  # side of a square, as a share of the photo's shorter side
BETTER = 0.1  # novelty by which a square lies below the other looks to name the photo,
CLEARLY = 0.35  # and to make it known


def squares_of(image: "Image") -> list["Image"]:
    """Three squares along a photo's long side, both ends and the middle; none if nearly square."""
    width, height = image.size
    short = min(width, height)
    if max(width, height) < WIDE * short:
        return []
    side = round(SQUARE * short)
    right, below = width - side, height - side
    if width > height:
        corners = [(0, below // 2), (right // 2, below // 2), (right, below // 2)]
    else:
        corners = [(right // 2, 0), (right // 2, below // 2), (right // 2, below)]
    return [image.crop((left, top, left + side, top + side)) for left, top in corners]


def square_input(square: "Image", preprocess: Preprocess) -> np.ndarray:
    """A square, the whole of it, as network inputs float32 [looks, 3, S, S]."""
    looks = images.to_looks(square, replace(preprocess, crop_pct=1.0))
    return images.to_input(looks, preprocess)


def look_closer(
    centre: tuple[np.ndarray, float],
    squares: list[np.ndarray],
    look: Callable[[np.ndarray], tuple[np.ndarray, float]],
) -> tuple[np.ndarray, float]:
    """What names a photo with an unknown centre, and its novelty: (features [1, D], novelty).

    `look` gives the same of network inputs [looks, 3, S, S]. The least novel look names the photo
    if it is a square that is better than the others are on average; its novelty counts only if it
    is clearly better.
    """
    if not squares:
        return centre
    seen = [look(pixels) for pixels in squares]
    feature, level = min(seen, key=lambda one: one[1])
    gain = (centre[1] + sum(other for _, other in seen) - level) / len(seen) - level
    if gain < BETTER or level >= centre[1]:
        return centre
    return feature, level if gain >= CLEARLY else centre[1]
