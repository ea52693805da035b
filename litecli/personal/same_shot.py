"""Photos so alike that they are one shot: a burst, or one photo filed under two objects."""

import numpy as np

from litecli.heads.labelled import distinct
from litecli.library.profile import GREY_SIDE

# Correlation of the greys of two photos above which they are one view of an object: a burst.
SAME_SHOT = 0.97
# And above which photos of two objects are probably copies of one photo. None of 3.2 million pairs
# of photos of different things was above it, and of copies at half the size 93 to 100 %.
SAME_PHOTO = 0.985


def greys_of(pixels: np.ndarray) -> np.ndarray:
    """A network input float32 [3, S, S], S >= 16, as greys int8 [256]: mean 0, deviation 32.

    Means of as many squares, GREY_SIDE across and as many down.
    """
    cell = pixels.shape[-1] // GREY_SIDE
    square = pixels.mean(0)[: cell * GREY_SIDE, : cell * GREY_SIDE]
    values = square.reshape(GREY_SIDE, cell, GREY_SIDE, cell).mean((1, 3)).reshape(-1)
    values = (values - values.mean()) / max(float(values.std()), 1e-3)
    return np.rint(np.clip(values * 32, -127, 127)).astype(np.int8)


def views(greys: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Group number int64 [N] of greys int8 [N, 256]: bursts of one object share a number.

    Two photos of an object whose greys correlate above SAME_SHOT are one view, and so are the
    photos linked through others.
    """
    unit = _unit(greys)
    groups = np.arange(len(labels), dtype=np.int64)
    for label in distinct(labels):
        members = np.flatnonzero(labels == label)
        linked = unit[members] @ unit[members].T > SAME_SHOT
        for row in linked:
            joined = groups[members[row]]
            if len(joined) > 1:
                groups[np.isin(groups, joined)] = joined.min()
    return groups


def twins(greys: np.ndarray, labels: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of photos of different objects that are probably one photo; greys int8 [N, 256]."""
    unit = _unit(greys)
    pairs = []
    for label in distinct(labels):
        members, others = np.flatnonzero(labels == label), np.flatnonzero(labels > label)
        rows, columns = np.nonzero(unit[members] @ unit[others].T > SAME_PHOTO)
        pairs += zip(members[rows].tolist(), others[columns].tolist(), strict=True)
    return pairs


def _unit(greys: np.ndarray) -> np.ndarray:
    unit = greys.astype(np.float32)
    return unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1.0)
