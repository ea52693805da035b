"""Ways to look at a wide photo: its looks as network inputs, and by which of them it is named."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from litecli.config import Preprocess
from litecli.heads import confidence
from litecli.personal import sides
from litecli.photos import images

# The looks at a photo, each one network input.
CENTRE, WHOLE, BOXED = 0, 1, 2
WIDE_ENDS, SQUARES = [3, 4], [5, 6, 7]  # as large as the centre square, and litecli's closer ones
ENDS = [5, 7]

Rule = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, float]]
# of (scores [L, C], novelty [L] of all looks, threshold) -> the scores that name, the novelty


def looks(photo: images.LoadedPhoto, preprocess: Preprocess) -> list[np.ndarray]:
    """All looks at a wide photo, as network inputs."""
    image, side = photo.image, preprocess.image_size
    short, long = min(image.size), max(image.size)
    boxed = Image.new("RGB", (long, long), (128, 128, 128))
    boxed.paste(image, ((long - image.width) // 2, (long - image.height) // 2))
    squares = [image.resize((side, side), Image.Resampling.BICUBIC), boxed]
    margin = round(short * (1 - preprocess.crop_pct) / 2)
    shift = (long - short) // 2
    for step in (margin - shift, shift - margin):
        x, y = (step, 0) if image.width > image.height else (0, step)
        left, top = (image.width - short) // 2 + x, (image.height - short) // 2 + y
        squares.append(image.crop((left, top, left + short, top + short)))
    whole = replace(preprocess, crop_pct=1.0)
    prepared = [images.to_looks(image, preprocess)]
    prepared += [images.to_looks(square, whole) for square in squares[:2]]
    prepared += [images.to_looks(square, preprocess) for square in squares[2:]]
    inputs = [images.to_input(pixels, preprocess) for pixels in prepared]
    return inputs + [sides.square_input(square, preprocess) for square in sides.squares_of(image)]


def one(look: int) -> Rule:
    return lambda scores, novelty, threshold: (scores[look], float(novelty[look]))


def mean_of(which: list[int]) -> Rule:
    return lambda scores, novelty, threshold: (
        scores[which].mean(axis=0),
        float(novelty[which].mean()),
    )


def most_probable(which: list[int]) -> Rule:
    def rule(scores: np.ndarray, novelty: np.ndarray, threshold: float):
        shares = confidence.probabilities(scores[which], 1.0).max(axis=1)
        best = which[int(shares.argmax())]
        return scores[best], float(novelty[best])

    return rule


def least_novel(which: list[int]) -> Rule:
    def rule(scores: np.ndarray, novelty: np.ndarray, threshold: float):
        best = which[int(novelty[which].argmin())]
        return scores[best], float(novelty[best])

    return rule


def litecli(scores: np.ndarray, novelty: np.ndarray, threshold: float) -> tuple[np.ndarray, float]:
    """What `classify` does."""
    centre = (scores[CENTRE], float(novelty[CENTRE]))
    if centre[1] <= threshold:
        return centre
    squares = [np.array(look) for look in SQUARES]
    return sides.look_closer(centre, squares, lambda n: (scores[int(n)], float(novelty[int(n)])))


THREE = [CENTRE, *WIDE_ENDS]
RULES: dict[str, Rule] = {
    "centre square": one(CENTRE),
    "squeezed": one(WHOLE),
    "letterboxed": one(BOXED),
    "3 squares, mean": mean_of(THREE),
    "3 squares, probable": most_probable(THREE),
    "3 squares, least novel": least_novel(THREE),
    "close ends, least novel": least_novel([CENTRE, *ENDS]),
    "close squares, least novel": least_novel([CENTRE, *SQUARES]),
    "litecli": litecli,
}
