"""Training views: the plain one is what adapt sees, random ones are functions of (seed, k, n)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from litecli.config import Preprocess
from litecli.networks.inputs import Standardise, standardised
from litecli.photos import images
from litecli.pictures.augment import View, colour_jitter, random_box

PREPROCESS = Preprocess(image_size=56)


def scene(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """Smooth colours with a few edges, as photos have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).copy()
    top, left = rng.integers(10, 60, 2)
    picture[top : top + 50, left : left + 70] //= 2
    return Image.fromarray(picture)


def squares(number: int) -> np.ndarray:
    return np.asarray(scene(number, (64, 64)))


def test_random_views_depend_on_seed_episode_and_image_alone() -> None:
    def views(
        augment: tuple[int, ...], numbers: list[int], threads: int | None = None
    ) -> dict[int, torch.Tensor]:
        view = View(squares, PREPROCESS, augment, threads=threads)
        return dict(zip(numbers, view(numbers), strict=True))

    first = views((3, 8), [0, 1, 2, 3])
    for threads in (1, 3):
        again = views((3, 8), [3, 1], threads)
        assert all(torch.equal(again[n], first[n]) for n in again)
    for other in ((3, 9), (4, 8)):
        assert not torch.equal(views(other, [1])[1], first[1])
    same_square = View(lambda _: squares(0), PREPROCESS, (3, 8))([0, 1])
    assert not torch.equal(same_square[0], same_square[1])


# Of (90, 160), half a pixel is cut off above: to_square's crop falls between two pixels.
@pytest.mark.parametrize(("size", "most"), [((200, 150), 1.5), ((64, 64), 1.5), ((90, 160), 4)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_plain_view_is_what_adapt_sees(
    tmp_path: Path, size: tuple[int, int], most: float, interpolation: str
) -> None:
    preprocess = Preprocess(image_size=56, interpolation=interpolation)
    path = tmp_path / "photo.png"
    scene(1, size).save(path)
    (expected,), _ = images.load_input(path, preprocess)
    stored = images.load_pixels(path, preprocess.resize_side)
    found = View(lambda _: stored, preprocess)([0])[0].numpy()
    assert found.dtype == np.float32 and found.shape == expected.shape
    std = np.array(preprocess.std)[:, None, None]
    levels = np.abs(found - expected) * 255 * std
    assert levels.mean() < most


def test_the_plain_view_keeps_the_middle() -> None:
    square = np.zeros((64, 64, 3), np.uint8)
    square[4:60, 4:60] = 255  # 56 of 64: just what the centre crop of 0.875 keeps
    view = View(lambda _: square, Preprocess(image_size=56, mean=(0, 0, 0), std=(1, 1, 1)))
    assert float(view([0]).min()) == 1.0


@pytest.mark.parametrize("side", [1, 2, 7, 100])
def test_random_boxes_stay_inside_and_keep_their_area(side: int) -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(side, rng, 0.4) for _ in range(500)])
    top, left, height, width = boxes.T
    assert min(top.min(), left.min()) >= 0 and min(height.min(), width.min()) >= 1
    assert (top + height).max() <= side and (left + width).max() <= side
    if side == 100:
        area, ratio = height * width / side**2, width / height
        assert 0.38 < area.min() < 0.5 and area.max() > 0.9
        assert 0.72 < ratio.min() < 0.85 and 1.2 < ratio.max() < 1.37
        assert len(set(top.tolist())) > 20 and len(set(left.tolist())) > 20


def test_mirroring_happens_half_the_time() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (64, 1, 3))
    view = View(lambda _: ramp, PREPROCESS, (0, 0))(list(range(200)))
    mirrored = (view[:, 0, :, 0].mean(1) > view[:, 0, :, -1].mean(1)).float().mean()
    assert 0.35 < mirrored < 0.65


def test_no_light_changes_nothing_and_each_amount_does_something() -> None:
    pixels = torch.from_numpy(squares(2).copy()).permute(2, 0, 1)[None].float()
    still = colour_jitter(pixels, torch.zeros(1, 4))
    torch.testing.assert_close(still, pixels, atol=1e-3, rtol=0)
    for kind in range(4):
        amounts = torch.zeros(1, 4)
        amounts[0, kind] = 0.8
        changed = colour_jitter(pixels, amounts)
        assert float((changed - pixels).abs().mean()) > 1
        assert float(changed.min()) >= 0 and float(changed.max()) <= 255


@pytest.mark.parametrize("augment", [None, (3, 8)])
def test_light_and_scale_are_put_on_where_the_view_is_told(augment: tuple[int, ...] | None) -> None:
    there = View(squares, PREPROCESS, augment, device=torch.device("meta"))([0, 1])
    assert there.device.type == "meta" and there.shape == (2, 3, 56, 56)
    assert there.dtype == torch.float32


def test_torch_standardises_as_the_loader_does() -> None:
    square = squares(2).copy()
    pixels = torch.from_numpy(square)[None].permute(0, 3, 1, 2)
    found, wanted = standardised(pixels, PREPROCESS), images.to_input(square, PREPROCESS)
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-6, rtol=0)
    assert found.stride() == pixels.stride()  # a network sees channels that come last uncopied
    assert torch.equal(found, Standardise(PREPROCESS, torch.device("cpu"))(pixels.float()))
