"""Features of a teacher network on the training images, computed once and kept as float16.

Two teachers may share the images: a network that is good on large photos is poor on thumbnails
blown up to its size.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from litecli import images, storage
from litecli.augment import normalise, random_box, resized
from litecli.encoder import Encoder
from litecli.model_library import Model
from litecli.pixels import PixelStore

REPORTED = 256  # features between two reports of progress
SMALLEST_CROP = 0.35  # of the area


def teacher_box(side: int, seed: int, view: int, number: int) -> tuple[int, int, int, int]:
    """The crop of image `number` that is the teacher's view `view`; the student gets the same."""
    return random_box(side, np.random.default_rng((seed, view, number)), SMALLEST_CROP)


def teacher_of_images(models: Sequence[Model], store: PixelStore) -> np.ndarray:
    """Which of one or two teachers sees each image, int [num_images].

    The second sees those that are larger than the first would see them.
    """
    if len(models) == 1:
        return np.zeros(len(store), np.int64)
    return (store.sides > models[0].config.preprocess.image_size).astype(np.int64)


def cache_features(
    models: Sequence[Model],
    store: PixelStore,
    key: str,
    folder: Path,
    views: int,
    seed: int,
    workers: int,
) -> Iterator[tuple[int, int]]:
    """Write the teachers' features [views, num_images, D] to `folder`, unless they are there.

    `key` names the images; the teachers' features have the same length. Yields (done, total).
    """
    facts = " ".join([key, *(model.fingerprint for model in models), f"{views} {seed}"])
    digest = hashlib.sha256(facts.encode()).hexdigest()
    count = len(store)
    key_path = folder / "teacher.key"
    if key_path.exists() and key_path.read_text() == digest:
        yield views * count, views * count
        return
    key_path.unlink(missing_ok=True)
    encoders = [Encoder(model.folder) for model in models]
    seen_by = teacher_of_images(models, store)
    size = models[0].config.num_features
    wanted = [(view, n) for view in range(views) for n in range(count) if store.usable[n]]

    def features(which: tuple[int, int]) -> np.ndarray:
        view, n = which
        square = store[n]
        preprocess = models[seen_by[n]].config.preprocess
        box = teacher_box(len(square), seed, view, n)
        crop = resized(square, box, preprocess.image_size, "bicubic").numpy()
        return encoders[seen_by[n]].encode(normalise(crop[None], preprocess))[0]

    out = np.memmap(folder / "teacher.f16", np.float16, "w+", shape=(views, count, size))
    seen = images.in_order(features, wanted, threads=workers)
    for done, ((view, n), row) in enumerate(zip(wanted, seen, strict=True), start=1):
        out[view, n] = row
        if done % REPORTED == 0:
            yield done, len(wanted)
    out.flush()
    storage.atomic_write(key_path, digest.encode())
    yield len(wanted), len(wanted)


def read_features(folder: Path, views: int, count: int, size: int) -> np.ndarray:
    """The cached features, float16 [views, count, size], memory-mapped."""
    return np.memmap(folder / "teacher.f16", np.float16, "r", shape=(views, count, size))
