"""Features of a few photos, such as a network gives, and the heads that learn from them."""

import numpy as np

from litecli.heads.heads import HEADS

NAMES = tuple(HEADS)


def photos(counts, dim=24, noise=1.0, seed=0):
    """Float32 features and labels of classes around random centres, like a network's."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), dim))
    features = 1 + centres[labels] + noise * rng.normal(size=(len(labels), dim))
    return features.astype(np.float32), labels
