"""A made-up profile for the library, and what the library refuses."""

from collections.abc import Callable

import numpy as np
import pytest

from litecli import library
from litecli.errors import ExitCode, LiteError
from litecli.library.profile import Profile


def make_profile(name: str = "garage", folder: str = "/photos/garage", seed: int = 0) -> Profile:
    rng = np.random.default_rng(seed)
    return Profile(
        name=name,
        labels=("keys", "mug [x]"),
        model_name="tiny",
        model_folder="",
        model_fingerprint="f" * 64,
        head="cosine",
        head_params={"weights": rng.standard_normal((2, 4)).astype(np.float32)},
        temperature=0.05,
        unknown_threshold=0.3,
        folder=folder,
        photo_paths=("keys/a.jpg", "mug [x]/\udcff.jpg", "mug [x]/ü.jpg"),
        photo_hashes=("a" * 64, "b" * 64, "c" * 64),
        photo_labels=np.array([0, 1, 1]),
        embeddings=rng.standard_normal((3, 4)).astype(np.float32),
        greys=rng.integers(-9, 9, (3, 256)).astype(np.int8),
        check={"accuracy": None},
        thumbnails={"a" * 64: b"jpeg"},
    )


def undone(name: str | None = None) -> Profile:
    """The version of a profile that undo brings back."""
    path = library.undo_profile(name)
    return library.read_profile(path, path.stem)


def refusal(code: ExitCode, function: Callable[..., object], *args: object, **options: object):
    with pytest.raises(LiteError) as caught:
        function(*args, **options)
    assert caught.value.code == code
    return caught.value
