"""What teachers say of which pictures, kept or live, and which teachers are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from litecli import images, pixels, run_setup, teacher
from litecli.composites import Part, picture
from litecli.config import PretrainConfig, TrainConfig
from litecli.encoder import Encoder
from litecli.errors import ExitCode, LiteError
from litecli.model_library import Model, open_model
from litecli.teacher import KeptTeacher, LiveTeacher, Panel
from litecli.training_data import TrainingData

SIDES = (32, 64, 16, 96, 33)  # the tiny models see images at 32


@pytest.fixture
def store(tmp_path: Path) -> pixels.PixelStore:
    """Photos of `SIDES` as training keeps them, none larger than 100."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{n}.png" for n in range(len(SIDES))]
    for path, side in zip(paths, SIDES, strict=True):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(path)
    folder = tmp_path / "cache"
    list(pixels.cache_photos(paths, 100, folder, 1))
    return pixels.PixelStore(folder)


def lesson(taught: KeptTeacher | LiveTeacher, number: int, seed: int = 0) -> tuple:
    """The picture of image `number` in a batch of all, and its features."""
    return taught.lesson(number, np.arange(len(SIDES)), np.random.default_rng(seed))


def features(store: pixels.PixelStore, folder: Path, *models: Model, seed: int = 5) -> np.ndarray:
    """Features [views = 2, num_images, D] of the teachers."""
    *_, last = teacher.cache_features(models, store, "noise", folder, 2, seed, 2)
    assert last == (2 * len(SIDES), 2 * len(SIDES))
    return np.array(teacher.read_features(folder, 2, len(SIDES), models[0].config.num_features))


def test_the_teacher_sees_the_students_crops_once(
    store: pixels.PixelStore,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = features(store, tmp_path, tiny_model)
    encoder, seen = Encoder(tiny_model.folder), tiny_model.config.preprocess
    for view, n in np.ndindex(2, len(SIDES)):
        top, left, height, width = teacher.teacher_box(SIDES[n], 5, view, n)
        crop = Image.fromarray(store[n][top : top + height, left : left + width])
        square = np.asarray(
            crop.resize((seen.image_size, seen.image_size), Image.Resampling.BICUBIC)
        )
        expected = encoder.encode(images.to_input(square[None], seen))[0]
        np.testing.assert_allclose(found[view, n], expected, rtol=0.02, atol=0.02)
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(features(store, tmp_path, tiny_model, seed=6), found)
    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode", None)  # not called again
        features(store, tmp_path, tiny_model, seed=6)


def test_large_images_have_a_teacher_of_their_own(
    store: pixels.PixelStore, write_model: Callable[..., Path], tmp_path: Path
) -> None:
    small, large = (open_model(write_model(tmp_path / str(seed), seed=seed)) for seed in (1, 2))
    seen_by = teacher.teacher_of_images([small, large], store)
    assert seen_by.tolist() == [0, 1, 0, 1, 1]
    both = features(store, tmp_path, small, large)
    alone = [features(store, tmp_path, model) for model in (small, large)]
    assert not np.array_equal(alone[0], alone[1])
    np.testing.assert_array_equal(both, np.where(seen_by[:, None], alone[1], alone[0]))
    taught = KeptTeacher(both[:1], seen_by, store.sides, seed=5)
    for group in ([0, 2], [1, 3, 4]):  # each teacher's features have their own mean and spread
        targets = np.stack([lesson(taught, n)[1] for n in group])
        np.testing.assert_allclose(targets.mean(0), 0, atol=1e-2)
        assert np.median(targets.std(0)) > 0.8


def test_a_large_teacher_that_sees_nothing_does_no_harm(store: pixels.PixelStore) -> None:
    shown = np.random.default_rng(0).normal(size=(1, len(SIDES), 4)).astype(np.float16)
    only_large = KeptTeacher(shown, np.ones(len(SIDES), np.int64), store.sides, seed=5)
    assert np.isfinite(only_large.spread.mean).all()


def test_a_kept_lesson_is_the_crop_that_the_teacher_saw(store: pixels.PixelStore) -> None:
    shown = np.random.default_rng(0).normal(size=(3, len(SIDES), 4)).astype(np.float16)
    taught = KeptTeacher(shown, np.zeros(len(SIDES), np.int64), store.sides, seed=5)
    seen = set()
    for k in range(20):
        (part,), target = lesson(taught, 3, seed=k)
        scaled = (shown[:, 3] - taught.spread.mean[0]) / taught.spread.std[0]
        (view,) = np.flatnonzero(np.abs(scaled - target).max(axis=1) < 1e-6)
        assert part.number == 3 and part.crop == teacher.teacher_box(SIDES[3], 5, int(view), 3)
        seen.add(int(view))
    assert seen == {0, 1, 2}


def test_a_live_teacher_sees_what_the_student_is_shown(
    store: pixels.PixelStore, write_model: Callable[..., Path], tmp_path: Path
) -> None:
    models = [open_model(write_model(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    panel = Panel(models, store)
    taught = LiveTeacher(panel, 0.5, 5, 2)
    sizes = set()
    for k in range(12):
        number = k % len(SIDES)
        parts, target = lesson(taught, number, seed=k)
        sizes.add(len(parts))
        seen_by, model = panel.seen_by[number], models[panel.seen_by[number]]
        shown = picture(parts, store.__getitem__, 32).numpy().transpose(1, 2, 0)
        features = Encoder(model.folder).encode(
            images.to_input(shown[None], model.config.preprocess)
        )[0]
        expected = (features - taught.spread.mean[seen_by]) / taught.spread.std[seen_by]
        np.testing.assert_allclose(target, expected, rtol=1e-4, atol=1e-3)
        again = lesson(taught, number, seed=k)
        assert again[0] == parts and np.array_equal(again[1], target)
    assert sizes == {1, 2, 4}
    unmixed = LiveTeacher(panel, 0.0, 5, 1)
    crops = {lesson(unmixed, 1, seed=k)[0] for k in range(9)}
    assert len(crops) == 9 and all(len(parts) == 1 for parts in crops)  # never the same again
    for side, own in ((0, [0, 2]), (1, [1, 3, 4])):
        plain = [panel.features([Part(n, teacher.teacher_box(SIDES[n], 5, 0, n))]) for n in own]
        np.testing.assert_allclose(taught.spread.mean[side], np.mean(plain, axis=0), atol=1e-5)


def test_teachers_of_two_kinds_are_refused(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = replace(tiny_model, config=replace(tiny_model.config, num_features=48))
    models = {"tiny": tiny_model, "longer": longer}
    monkeypatch.setattr(run_setup, "find_model", models.__getitem__)
    config = TrainConfig(pretrain=PretrainConfig(teacher="tiny", teacher_large="longer"))
    with pytest.raises(LiteError, match="differ in kind") as caught:
        next(run_setup.prepared_teacher(config, cast(TrainingData, None), tmp_path))
    assert caught.value.code == ExitCode.USAGE and "24 and 48 numbers" in str(caught.value.why)
