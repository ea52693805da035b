"""More looks at a support photo: squares off its middle, turned a little, half of them mirrored.

A head that learns from each look learns what of an object stays when the photo is taken a bit
otherwise. They are the same for every photo, so nothing is drawn by chance, and the answer to a
photo, which is looked at as ever, costs no more.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

SHARES = (0.6, 0.95)  # of the short side, that a look shows
FARTHEST = 0.2  # of the short side, from the photo's middle to a look's, across and down
STEEPEST = 20.0  # degrees
_GROWTH = 1.1673039782614187  # the root of x^5 = x + 1


class SupportLook(NamedTuple):
    """A square of a photo, by shares of its short side."""

    share: float  # its side
    across: float  # from the photo's middle to its own
    down: float
    degrees: float  # counter-clockwise
    mirrored: bool


def support_looks(count: int) -> list[SupportLook]:
    """The first `count` of a fixed sequence whose members spread evenly, however many they are.

    Roberts' additive recurrence in four dimensions ("The unreasonable effectiveness of
    quasirandom sequences", 2018): the fractions of n times powers of one irrational number.
    """
    looks = []
    for n in range(1, count + 1):
        share, across, down, turn = (math.fmod(0.5 + n / _GROWTH**k, 1.0) for k in range(1, 5))
        looks.append(
            SupportLook(
                SHARES[0] + share * (SHARES[1] - SHARES[0]),
                (2 * across - 1) * FARTHEST,
                (2 * down - 1) * FARTHEST,
                (2 * turn - 1) * STEEPEST,
                n % 4 >= 2,  # not every other: their turns alternate already
            )
        )
    return looks


def to_support_looks(image: Image.Image, count: int, side: int) -> np.ndarray:
    """Squares uint8 [count, side, side, 3] of an upright RGB photo."""
    if count == 0:
        return np.empty((0, side, side, 3), np.uint8)
    # Shrunk once, with care, to where the smallest look is `side` pixels wide: what is left to do
    # for each look takes less than half the time, and hardly differs.
    most = math.ceil(side / SHARES[0])
    short = min(image.size)
    if short > most:
        width, height = (max(round(length * most / short), most) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.stack([_square(image, look, side) for look in support_looks(count)])


def _square(image: Image.Image, look: SupportLook, side: int) -> np.ndarray:
    """What a look shows; nearer to the middle, or smaller, where it would leave the photo."""
    angle = math.radians(look.degrees)
    spread = math.cos(angle) + abs(math.sin(angle))  # the turned square's extent, in its sides
    short = min(image.size)
    extent = min(look.share * spread, 1.0) * short
    x, y = (
        min(max(length / 2 + moved * short, extent / 2), length - extent / 2)
        for length, moved in zip(image.size, (look.across, look.down), strict=True)
    )
    # Where a place of the square lies in the photo, both in pixels from their corners.
    right, down = (part * extent / spread / side for part in (math.cos(angle), math.sin(angle)))
    across = (right, -down, x - (right - down) * side / 2)
    downwards = (down, right, y - (down + right) * side / 2)
    turned = image.transform(
        (side, side), Image.Transform.AFFINE, (*across, *downwards), Image.Resampling.BILINEAR
    )
    pixels = np.asarray(turned)
    return pixels[:, ::-1] if look.mirrored else pixels
