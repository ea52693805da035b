"""What a network makes of things that are nobody's objects: features that come with the model.

With them `adapt` foretells how often such a thing will be taken for an object. They are of drawn
scenes, which every network can be shown and no photo has to be shipped for. Measured, they are
taken for an object about as often as photos of other collections are (tests/benchmarks/unknowns.py
prints both).
"""

from dataclasses import replace

import numpy as np

from litecli.config import Preprocess
from litecli.heads.labelled import unit_rows
from litecli.library.model_files import Model
from litecli.library.model_tensors import model_tensors
from litecli.photos import images

STRANGERS = "strangers"  # name of the tensor in a model's file, float16 [NUM_STRANGERS, D]
NUM_STRANGERS = 64
SEED = 1  # of the drawings


def stranger_inputs(preprocess: Preprocess) -> np.ndarray:
    """Network inputs float32 [NUM_STRANGERS, looks, 3, S, S]: of so many inventions."""
    from litecli.drawn import scenes  # adapt and classify never draw, and start without it

    whole = replace(preprocess, crop_pct=1.0)
    drawn = (scenes.class_view(n, 0, SEED, preprocess.image_size) for n in range(NUM_STRANGERS))
    looks = (images.to_looks(images.from_pixels(pixels), whole) for pixels in drawn)
    return np.stack([images.to_input(squares, preprocess) for squares in looks])


def stranger_tensor(features: np.ndarray) -> np.ndarray:
    """Features [NUM_STRANGERS, D] as a model's file keeps them: unit length, float16."""
    return unit_rows(features.astype(np.float64)).astype(np.float16)


def strangers_of(model: Model) -> np.ndarray | None:
    """The strangers' features [NUM_STRANGERS, D] of a model, None where its file has none.

    A model with FiLM has none: its network, and so its features, change with the photos.
    """
    return model_tensors(model, "", (), optional=(STRANGERS,)).get(STRANGERS)
