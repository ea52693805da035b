"""Pictures made of an atlas of halved images are those that are made one after the other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from litecli.pictures import pixels
from litecli.pictures.atlas import HALVINGS, Atlas, atlas_for
from litecli.pictures.composites import Pictures, draw_pictures, picture, single_pictures

SIDES = (40, 64, 33, 17, 90, 128)


@pytest.fixture
def store(tmp_path: Path) -> pixels.PixelStore:
    """Photos of `SIDES` with smooth colours, which any way to resize shows alike."""
    paths = [tmp_path / f"{n}.png" for n in range(len(SIDES))]
    for n, (path, side) in enumerate(zip(paths, SIDES, strict=True)):
        across = np.linspace(0, 1.5, side)
        waves = np.stack(
            [
                np.sin(2.5 * across)[None] * np.ones((side, 1)),
                np.cos(2.0 * across)[:, None] * np.ones((1, side)),
                np.sin(across[:, None] + across[None] + n),
            ],
            axis=-1,
        )
        Image.fromarray((127.5 + 127.5 * waves).round().astype(np.uint8)).save(path)
    folder = tmp_path / "cache"
    list(pixels.cache_photos(paths, 200, folder, 1))
    return pixels.PixelStore(folder)


@pytest.fixture
def atlas(store: pixels.PixelStore) -> Atlas:
    return Atlas(store, torch.device("cpu"))


def drawn(count: int, mix: float, seed: int = 0) -> Pictures:
    rng = np.random.default_rng(seed)
    numbers = np.arange(count) % len(SIDES)
    return draw_pictures(numbers, np.array(SIDES), mix, 0.3, rng)


def test_every_level_holds_the_images_at_half_the_size(
    store: pixels.PixelStore, atlas: Atlas
) -> None:
    for n, side in enumerate(SIDES):
        expected = torch.from_numpy(np.array(store[n])).float().permute(2, 0, 1)[None]
        for level in range(HALVINGS + 1):
            size, start = int(atlas.sides[level, n]), int(atlas.starts[level, n])
            assert size == side >> level
            found = atlas.pixels[start : start + size**2].view(size, size, 3).permute(2, 0, 1)
            if level:
                expected = torch.nn.functional.adaptive_avg_pool2d(expected, size).round()
            assert torch.equal(found.float(), expected[0])


@pytest.mark.parametrize("side", [40, 75])
@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_a_batch_shows_what_its_pictures_show_alone(
    store: pixels.PixelStore, atlas: Atlas, side: int, mix: float
) -> None:
    pictures = drawn(48, mix)
    found = atlas.render(pictures, side)
    assert found.shape == (48, 3, side, side) and found.dtype == torch.float32
    for row in range(len(pictures)):
        expected = picture(pictures, row, store.__getitem__, side).float()
        off = (found[row] - expected).abs()
        # Shrunken or blown up, smooth colours stay what they are but for a share of a pixel's step.
        assert off.mean() < 2 and off.flatten().quantile(0.99) < 12, row


def test_an_image_at_its_own_size_is_shown_as_it_is(store: pixels.PixelStore, atlas: Atlas) -> None:
    whole = single_pictures(
        np.array([1, 1]), np.array([[0, 0, 64, 64]] * 2), np.array([False, True])
    )
    straight, mirrored = atlas.render(whole, 64)
    assert torch.equal(straight, torch.from_numpy(np.array(store[1])).permute(2, 0, 1).float())
    assert torch.equal(mirrored, straight.flip(-1))


def test_only_a_gpu_with_room_gets_an_atlas(
    store: pixels.PixelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert atlas_for(store, torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (store.pixels.nbytes, 0))
    assert atlas_for(store, torch.device("cuda")) is None
