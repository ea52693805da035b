"""Objects at the side of a wide photo: named there, and nothing else changes its answer."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litecli.config import Preprocess
from litecli.heads import confidence
from litecli.library.model_files import Model
from litecli.library.profile import Profile
from litecli.networks import model_heads
from litecli.networks.encoder import Encoder
from litecli.personal import personalize, predictions, sides
from litecli.photos import images

SIDE = 32  # pixels, an input of the tiny network
COLOURS = {"keys": (200, 40, 40), "mug": (40, 180, 60), "bowl": (50, 70, 210)}
THREE = tuple(COLOURS)
CLUTTER = (235, 150, 235)  # of the middle of a photo, like none of the objects
UNSCALED = (1 / 255, 1 / 255, 1 / 255)
SHAPES = ((256, 128), (224, 128), (128, 256), (128, 224))  # about 2:1 and 16:9, wide and tall


def drawn(size: tuple[int, int], seed: int, patches: dict[float, tuple[int, int, int]]) -> bytes:
    """A PNG of noise around CLUTTER; at a share of the long side's room, a square of a colour."""
    rng = np.random.default_rng(seed)
    width, height = size
    pixels = np.array(CLUTTER) + rng.integers(-12, 12, (height, width, 3))
    side = int(0.9 * min(size))
    for place, colour in patches.items():
        left, top = (
            round(place * (room - side)) if room == max(size) else (room - side) // 2
            for room in size
        )
        pixels[top : top + side, left : left + side] = colour + rng.integers(
            -12, 12, (side, side, 3)
        )
    return png(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def profile(tiny_model: Model, put: Callable[..., Path], tmp_path: Path) -> Profile:
    """Three objects learned from square photos that they fill."""
    for number, name in enumerate(THREE):
        for seed in range(6):
            data = drawn((96, 96), 100 * number + seed, {0.5: COLOURS[name]})
            put(f"things/{name}/{seed}.png", data)
    return personalize.adapt(tmp_path / "things", tiny_model, name="things").profile


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the batch size of every pass through the network."""
    sizes: list[int] = []

    class Counting(Encoder):
        def encode(self, images: np.ndarray) -> np.ndarray:
            sizes.append(len(images))
            return super().encode(images)

    monkeypatch.setattr(predictions, "Encoder", Counting)
    return sizes


def answer(data: bytes, profile: Profile, model: Model, **options) -> predictions.Prediction:
    [only] = predictions.classify([("x", data)], profile, model, **options)
    return only


def by_the_centre(data: bytes, profile: Profile, model: Model) -> tuple[np.ndarray, float]:
    """Probabilities [C] and novelty of a photo's centre square alone."""
    pixels, _ = images.load_input(data, model.config.preprocess)
    feature = Encoder(model.folder).encode(pixels)
    head = model_heads.head_of(model, profile.head)
    scores = head.score(profile.head_params, feature)
    level = confidence.novelty(feature, profile.embeddings, profile.photo_labels)[0]
    return confidence.probabilities(scores, profile.temperature)[0], float(level)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("place", [0.0, 1.0])
def test_an_object_at_an_end_is_named_and_known(
    tiny_model: Model, profile: Profile, size: tuple[int, int], place: float
) -> None:
    for number, name in enumerate(THREE):
        data = drawn(size, 900 + number, {place: COLOURS[name]})
        got = answer(data, profile, tiny_model)
        assert (got.label, got.known) == (name, True)
        assert got.confidence == max(got.scores.values()) > 0.5
        assert str(got.nearest).startswith(name)
        assert by_the_centre(data, profile, tiny_model)[1] > profile.unknown_threshold


@pytest.mark.parametrize("size", [(96, 96), (96, 110), (114, 96), *SHAPES])
def test_other_photos_are_answered_by_their_centre_to_the_last_bit(
    tiny_model: Model, profile: Profile, size: tuple[int, int], passes: list[int]
) -> None:
    """Nearly square ones, known or not, and wide ones with an own object in the middle."""
    nearly_square = max(size) < sides.WIDE * min(size)
    for number, name in enumerate(THREE):
        patches = [{0.5: COLOURS[name]}]
        patches += [{}] if nearly_square else [{0.0: COLOURS["mug"], 0.5: COLOURS[name]}]
        for shown in patches:
            data = drawn(size, 300 + number, shown)
            shares, level = by_the_centre(data, profile, tiny_model)
            passes.clear()
            got = answer(data, profile, tiny_model)
            assert list(got.scores.values()) == shares.tolist()
            assert got.novelty == level
            assert got.known == (level <= profile.unknown_threshold) == bool(shown)
            assert passes == [1]


def test_a_wide_stranger_stays_unknown_after_four_looks(
    tiny_model: Model, profile: Profile, passes: list[int]
) -> None:
    data = drawn((256, 128), 1, {})
    got = answer(data, profile, tiny_model)
    assert not got.known and passes == [1, 1, 1, 1]
    assert got.novelty == by_the_centre(data, profile, tiny_model)[1]


def test_an_answer_does_not_depend_on_the_other_photos(tiny_model: Model, profile: Profile) -> None:
    photos = [
        (f"{name} {place} {size}", drawn(size, 40 + number, {place: COLOURS[name]}))
        for number, name in enumerate(THREE)
        for place in (0.0, 0.5, 1.0)
        for size in SHAPES[:3]
    ]
    photos.append(("broken", b"no photo"))
    together = list(predictions.classify(photos, profile, tiny_model))
    alone = [next(predictions.classify([one], profile, tiny_model)) for one in photos]
    backwards = list(predictions.classify(photos[::-1], profile, tiny_model))[::-1]
    assert together == alone == backwards
    assert [a.error is None for a in together] == [True] * 27 + [False]


def test_thresholds_of_the_user_change_what_is_known_and_not_the_name(
    tiny_model: Model, profile: Profile
) -> None:
    data = drawn((256, 128), 7, {1.0: COLOURS["bowl"]})
    usual = answer(data, profile, tiny_model)
    strict = answer(data, profile, tiny_model, unknown_threshold=usual.novelty - 0.01)
    loose = answer(data, profile, tiny_model, unknown_threshold=9.0)
    never = answer(data, profile, tiny_model, allow_unknown=False)
    assert (usual.known, strict.known, loose.known, never.known) == (True, False, True, True)
    assert loose == never == usual == dataclasses.replace(strict, known=True)


@pytest.mark.parametrize("others", [(0.9, 0.9, 0.9), (0.95, 0.9, 0.85), (0.81, 1.08, 0.81)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_square_has_to_stand_out_from_the_mean_of_the_other_looks(
    others: tuple[float, ...], place: int
) -> None:
    centre, *rest = others  # their mean is 0.9

    def with_one_at(level: float) -> tuple[int, float]:
        """Which square names the photo (-1: the centre), and the novelty that counts."""
        levels = [*rest[:place], level, *rest[place:]]
        look = lambda pixels: (pixels, levels[int(pixels[0])])  # noqa: E731
        squares = [np.array([number]) for number in range(3)]
        feature, novelty = sides.look_closer((np.array([-1]), centre), squares, look)
        return int(feature[0]), novelty

    names, knows = 0.9 - sides.BETTER, 0.9 - sides.CLEARLY
    assert with_one_at(names + 1e-6) == (-1, centre)
    assert with_one_at(names - 1e-6) == with_one_at(knows + 1e-6) == (place, centre)
    assert with_one_at(knows - 1e-6) == (place, knows - 1e-6)


def test_a_square_that_is_stranger_than_the_centre_changes_nothing() -> None:
    look = lambda pixels: (pixels, float(pixels[0]))  # noqa: E731
    centre = (np.array([0.5]), 0.5)
    squares = [np.array([level]) for level in (0.51, 1.5, 1.5)]
    assert sides.look_closer(centre, squares, look) is centre
    assert sides.look_closer(centre, [], look) is centre


def stripes(length: int, short: int, tall: bool) -> Image.Image:
    """A photo whose red is the place along its long side, and blue the place along its short."""
    along, across = np.meshgrid(np.arange(length), np.arange(short))
    pixels = np.stack([along, np.zeros_like(along), across], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels.transpose(1, 0, 2) if tall else pixels)


@pytest.mark.parametrize("tall", [False, True])
def test_squares_lie_at_both_ends_and_in_the_middle(tall: bool) -> None:
    raw = Preprocess(image_size=SIDE, crop_pct=0.5, mean=(0, 0, 0), std=UNSCALED)
    squares = sides.squares_of(stripes(200, 120, tall))
    side = round(sides.SQUARE * 120)
    starts = (0, (200 - side) // 2, 200 - side)
    for square, start in zip(squares, starts, strict=True):
        [seen] = sides.square_input(square, raw)
        assert seen.shape == (3, SIDE, SIDE) and seen.dtype == np.float32
        along, across = seen[0], seen[2]
        along, across = (along.T, across.T) if tall else (along, across)
        top = (120 - side) // 2
        assert along[:, 0] == pytest.approx(np.full(SIDE, start), abs=3)
        assert along[:, -1] == pytest.approx(np.full(SIDE, start + side - 1), abs=3)
        assert across[0] == pytest.approx(np.full(SIDE, top), abs=3)
        assert across[-1] == pytest.approx(np.full(SIDE, top + side - 1), abs=3)


def test_only_long_photos_are_looked_at_again() -> None:
    def count(length: int) -> Iterator[int]:
        for tall in (False, True):
            yield len(sides.squares_of(stripes(length, 100, tall)))

    assert list(count(100)) == list(count(119)) == [0, 0]
    assert list(count(120)) == list(count(250)) == [3, 3]
