"""What teachers say of which pictures, kept or live, alone or side by side."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model, open_model
from litecli.networks import backbone
from litecli.networks.encoder import Encoder
from litecli.networks.inputs import standardised
from litecli.photos import images
from litecli.pictures import pixels
from litecli.training import teacher
from litecli.training.teacher import KeptTeacher, LiveTeacher

from .small_models import write_network

SIDES = (32, 64, 16, 96, 33)  # the tiny models see images at 32
CPU = torch.device("cpu")


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


@pytest.fixture
def two(write_model: Callable[..., Path], tmp_path: Path) -> list[Model]:
    return [open_model(write_model(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]


def features(store: pixels.PixelStore, folder: Path, *models: Model, seed: int = 5) -> np.ndarray:
    """Kept features [views = 2, num_images, D] of the teachers."""
    *_, last = teacher.cache_features(models, store, "noise", folder, 2, seed, 2)
    assert last == (2 * len(SIDES), 2 * len(SIDES))
    width = sum(model.config.num_features for model in models)
    return np.array(teacher.read_features(folder, 2, len(SIDES), width))


def shown(count: int = 12, side: int = 32) -> torch.Tensor:
    """Pictures [B, 3, S, S] in 0 to 255."""
    return 255 * torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(0))


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


def test_kept_features_that_are_cut_off_are_computed_anew(
    store: pixels.PixelStore, tiny_model: Model, tmp_path: Path
) -> None:
    found = features(store, tmp_path, tiny_model)
    path = tmp_path / teacher.FEATURES_FILE
    path.write_bytes(path.read_bytes()[:-2])
    np.testing.assert_array_equal(features(store, tmp_path, tiny_model), found)


def test_features_that_the_disk_has_no_room_for_are_not_begun(
    store: pixels.PixelStore,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mapped file without room would end the process with a signal, half-way through."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(LiteError, match="disk full") as error:
        features(store, tmp_path, tiny_model)
    assert error.value.code == ExitCode.MACHINE
    assert not (tmp_path / teacher.FEATURES_FILE).exists()


def test_kept_features_of_several_teachers_stand_side_by_side(
    store: pixels.PixelStore, two: list[Model], tmp_path: Path
) -> None:
    both = features(store, tmp_path, *two)
    alone = [features(store, tmp_path, model) for model in two]
    assert not np.array_equal(alone[0], alone[1])
    np.testing.assert_array_equal(both, np.concatenate(alone, axis=-1))


def test_a_kept_lesson_is_the_crop_that_the_teacher_saw(store: pixels.PixelStore) -> None:
    kept = np.random.default_rng(0).normal(3, 2, size=(3, len(SIDES), 4)).astype(np.float16)
    taught = KeptTeacher(kept, store.sides, seed=5)
    seen = set()
    for k in range(20):
        pictures, targets = taught.lessons(np.array([3, 1]), np.random.default_rng(k))
        assert pictures.numbers.tolist() == [[3], [1]] and pictures.single.all()
        for number, crop, target in zip((3, 1), pictures.crops[:, 0], targets, strict=True):
            scaled = (kept[:, number] - taught.mean) / taught.std
            (view,) = np.flatnonzero(np.abs(scaled - target).max(axis=1) < 1e-5)
            assert tuple(crop) == teacher.teacher_box(SIDES[number], 5, int(view), number)
            seen.add((number, int(view)))
    assert len(seen) == 6
    np.testing.assert_allclose(taught.mean, kept[0].astype(np.float32).mean(axis=0), atol=1e-3)


def test_photos_that_cannot_be_read_do_not_count_for_the_mean() -> None:
    kept = np.zeros((1, 3, 4), np.float16)
    kept[0, 0] = kept[0, 2] = 5.0
    taught = KeptTeacher(kept, np.array([32, 0, 32]), seed=5)
    np.testing.assert_array_equal(taught.mean, 5.0)


@pytest.fixture
def networks(tmp_path: Path) -> list[Model]:
    return [write_network(tmp_path / f"network {seed}", seed) for seed in (1, 2)]


def alone(model: Model, pictures: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What one teacher's own network makes of pictures: features and maps."""
    network = backbone.from_model(model.folder, model.config).network.eval()
    with torch.no_grad():
        inputs = standardised(pictures, model.config.preprocess)
        last, stages = network.forward_intermediates(inputs, indices=2)  # type: ignore[operator]
        return network(inputs), [last, stages[0]]


@pytest.mark.parametrize("with_maps", [False, True])
def test_a_live_teacher_says_what_its_networks_do(networks: list[Model], with_maps: bool) -> None:
    taught, pictures = LiveTeacher(networks, CPU, False, with_maps), shown(side=64)
    taught.measure([pictures[:5], pictures[5:]])
    lesson = taught.lesson(pictures)
    assert len(lesson.maps) == (2 if with_maps else 0)
    assert taught.map_widths == [found.shape[1] for found in lesson.maps]
    assert lesson.features.shape == (12, taught.width)
    seen = [alone(model, pictures) for model in networks]
    wanted = [torch.cat([features for features, _ in seen], dim=1)]
    if with_maps:
        wanted += [torch.cat([maps[n] for _, maps in seen], dim=1) for n in range(2)]
    for found, raw in zip((lesson.features, *lesson.maps), wanted, strict=True):
        rows = raw.double().movedim(1, -1).flatten(0, -2)
        shape = (-1, *[1] * (raw.ndim - 2))
        mean, std = rows.mean(0).view(shape), rows.std(0, unbiased=False).view(shape)
        expected = (raw - mean) / (std + teacher.SPREAD_FLOOR)
        torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-3)
