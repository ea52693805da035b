"""Objects that are small or at the side of a photo, where the centre square does not show them.

A photo whose centre is known is answered by its centre. Otherwise the two ends of a wide or tall
photo are looked at too, closer up. Three looks are three chances to take a stranger for an object,
so an end makes a photo known only where it is clearly less novel than the centre: there something
else is in the middle. How clearly was chosen so that false accepts on wide photos stay near what
`adapt` foretells from centres alone (tests/benchmarks/side_objects.py). No torch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from litecli import images
from litecli.config import Preprocess

if TYPE_CHECKING:
    from PIL.Image import Image

WIDE = 1.2  # longer through shorter side, from which a photo has ends
SQUARE = 0.75  # side of an end's square, as a share of the photo's shorter side
BETTER = 0.2  # novelty by which an end lies below the centre to name the photo,
CLEARLY = 0.4  # and to make it known


def ends_of(image: "Image") -> list["Image"]:
    """Both ends of a photo, a square against each short side; none if it is nearly square."""
    width, height = image.size
    short = min(width, height)
    if max(width, height) < WIDE * short:
        return []
    side = round(SQUARE * short)
    right, below = width - side, height - side
    if width > height:
        corners = [(0, below // 2), (right, below // 2)]
    else:
        corners = [(right // 2, 0), (right // 2, below)]
    return [image.crop((left, top, left + side, top + side)) for left, top in corners]


def end_input(end: "Image", preprocess: Preprocess) -> np.ndarray:
    """An end, the whole of it, as network inputs float32 [looks, 3, S, S]."""
    looks = images.to_looks(end, replace(preprocess, crop_pct=1.0))
    return images.to_input(looks, preprocess)


def look_at_ends(
    centre: tuple[np.ndarray, float],
    ends: list[np.ndarray],
    look: Callable[[np.ndarray], tuple[np.ndarray, float]],
) -> tuple[np.ndarray, float]:
    """What names a photo with an unknown centre, and its novelty: (features [1, D], novelty).

    `look` gives the same of network inputs [looks, 3, S, S]. The least novel end names the photo if
    it is better than the centre; its novelty counts only if it is clearly better.
    """
    if not ends:
        return centre
    feature, level = min((look(pixels) for pixels in ends), key=lambda seen: seen[1])
    gain = centre[1] - level
    if gain < BETTER:
        return centre
    return feature, level if gain >= CLEARLY else centre[1]
