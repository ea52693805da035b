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
    return np.stack([_square(image, look, side) for look in support_looks(count)])


def _square(image: Image.Image, look: SupportLook, side: int) -> np.ndarray:
    """What a look shows; nearer to the middle, or smaller, where it would leave the photo."""
    angle = math.radians(abs(look.degrees))
    # Pixels of a square in which the turned one has room, and one more on every side for the
    # filter: what it would see beyond is black.
    around = side + 2 * math.ceil((side * (math.cos(angle) + math.sin(angle) - 1)) / 2 + 1)
    short = min(image.size)
    extent = min(look.share * around / side, 1.0) * short
    left, top = (
        min(max(length / 2 + moved * short - extent / 2, 0.0), length - extent)
        for length, moved in zip(image.size, (look.across, look.down), strict=True)
    )
    # Rounding must not take the box out of the photo: Pillow refuses that.
    box = (left, top, min(left + extent, image.width), min(top + extent, image.height))
    square = image.resize((around, around), Image.Resampling.BICUBIC, box=box)
    turned = square.rotate(look.degrees, Image.Resampling.BICUBIC)
    margin = (around - side) // 2
    pixels = np.asarray(turned.crop((margin, margin, margin + side, margin + side)))
    return pixels[:, ::-1] if look.mirrored else pixels
