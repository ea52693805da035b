"""Photos that a GPU decodes are those of the loader; tried with torchvision's decoder on a CPU."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.io
from PIL import Image, ImageCms

from litecli.photos import images
from litecli.pictures import gpu_decoding, pixels

DEVICE = torch.device(os.environ.get("LITECLI_TEST_DEVICE", "cpu"))
SIDE = 50


@pytest.fixture(autouse=True)
def small_pictures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_decoding, "MIN_PIXELS", 1)


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were decoded at once, as it happens."""
    seen: list[int] = []
    decode = torchvision.io.decode_jpeg

    def counted(files: list[torch.Tensor], **options: Any) -> Any:
        seen.append(len(files))
        return decode(files, **options)

    monkeypatch.setattr(torchvision.io, "decode_jpeg", counted)
    return seen


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Patches of colour under a finer pattern of light, no two corners alike."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
    light = Image.fromarray(rng.integers(0, 256, (height // 5, width // 5), np.uint8))
    return Image.blend(
        patches.resize((width, height), Image.Resampling.BICUBIC),
        light.convert("RGB").resize((width, height), Image.Resampling.BICUBIC),
        alpha=0.2,
    )


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, quality=95, **options)
    return path


def read(paths: list[Path], side: int = SIDE) -> list[np.ndarray | None]:
    return list(gpu_decoding.read_all(paths, side, 2, device=DEVICE))


def assert_alike(found: np.ndarray | None, path: Path, side: int = SIDE) -> None:
    wanted = images.load_pixels(path, side)
    assert found is not None
    assert found.shape == wanted.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - wanted).mean() < 1.5


@pytest.mark.parametrize(
    "size", [(100, 100), (131, 100), (100, 157), (333, 201), (905, 1207), (1207, 905)]
)
def test_squares_are_the_loaders(size: tuple[int, int], tmp_path: Path, on_device: list) -> None:
    path = save(tmp_path / "a.jpg", picture(*size))
    assert_alike(read([path])[0], path)
    assert on_device == [1]


@pytest.mark.parametrize("size", [(50, 50), (30, 45), (99, 300), (300, 99)])
def test_what_is_not_shrunk_by_two_is_the_loaders(
    size: tuple[int, int], tmp_path: Path, on_device: list
) -> None:
    """A device may not smooth a file's colours, which are half as many as its pixels."""
    path = save(tmp_path / "a.jpg", picture(*size))
    np.testing.assert_array_equal(read([path])[0], images.load_pixels(path, SIDE))
    assert on_device == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_middle_of_an_upright_picture_is_cut_out(orientation: int, tmp_path: Path) -> None:
    """The margin is odd: the middle of the stored picture would lie a pixel beside."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, size in (("wide.jpg", (161, 100)), ("high.jpg", (100, 161))):
        path = save(tmp_path / name, picture(*size), exif=exif, subsampling=0)
        assert_alike(read([path])[0], path)


def test_colours_are_srgb(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    path = save(tmp_path / "a.jpg", picture(300, 200), icc_profile=profile.tobytes())
    assert_alike(read([path])[0], path)
    swapped = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    swapped = swapped.replace(b"rXYZ", b"tXYZ", 1).replace(b"bXYZ", b"rXYZ", 1)
    swapped = swapped.replace(b"tXYZ", b"bXYZ", 1)
    other = save(tmp_path / "b.jpg", picture(300, 200), icc_profile=swapped)
    assert_alike(read([other])[0], other)
    plain = save(tmp_path / "c.jpg", picture(300, 200))
    assert np.abs(images.load_pixels(plain, SIDE).astype(int) - read([other])[0]).mean() > 5


@pytest.mark.parametrize("first", ["small", "large"])
def test_squares_come_as_they_are_read(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many photos that no device decodes: they must not wait for one that it does."""
    monkeypatch.setattr(gpu_decoding, "MOST_HELD", 10)
    small, large = tmp_path / "a.png", save(tmp_path / "b.jpg", picture(120, 100))
    picture(60, 60).save(small)
    opened: list[Path] = []

    def read_file(path: Path) -> bytes:
        opened.append(path)
        return path.read_bytes()

    monkeypatch.setattr(gpu_decoding, "read_file", read_file)
    paths = [large if first == "large" else small, *[small] * 999]
    squares = gpu_decoding.read_all(paths, SIDE, 2, device=DEVICE)
    assert_alike(next(squares), paths[0])
    assert len(opened) < 200
    assert sum(1 for _ in squares) == 999


def progressive(path: Path) -> Path:
    return save(path, picture(200, 150), progressive=True)


def cmyk(path: Path) -> Path:
    return save(path, picture(200, 150).convert("CMYK"))


def grey(path: Path) -> Path:
    return save(path, picture(200, 150).convert("L"))


def not_ycc(path: Path) -> Path:
    return save(path, picture(200, 150), keep_rgb=True)


def with_a_film(path: Path) -> Path:
    """A Motion Photo: a film follows the picture."""
    save(path, picture(200, 150))
    path.write_bytes(path.read_bytes() + b"\0\0\0\x18ftypmp42")
    return path


def png(path: Path) -> Path:
    picture(200, 150).save(path, "PNG")
    return path


@pytest.mark.parametrize("make", [progressive, cmyk, grey, not_ycc, with_a_film, png])
def test_what_nvjpeg_may_show_otherwise_is_the_loaders(
    make: Callable[[Path], Path], tmp_path: Path, on_device: list[int]
) -> None:
    path = make(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read([path])[0], images.load_pixels(path, SIDE))
    assert on_device == []


def test_small_pictures_are_the_loaders(
    tmp_path: Path, on_device: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_decoding, "MIN_PIXELS", 200 * 150 + 1)
    small = save(tmp_path / "a.jpg", picture(200, 150))
    large = save(tmp_path / "b.jpg", picture(201, 150))
    np.testing.assert_array_equal(read([small, large])[0], images.load_pixels(small, SIDE))
    assert on_device == [1]


def test_what_cannot_be_used_is_none_wherever_it_is(tmp_path: Path) -> None:
    good = [save(tmp_path / f"{n}.jpg", picture(120, 100, n)) for n in range(3)]
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good[0].read_bytes()[:-200])
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    found = read([text, good[0], cut, good[1], tmp_path / "nowhere.jpg", good[2], text])
    assert [square is not None for square in found] == [
        False,
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    for square, path in zip(found[1::2], good, strict=True):
        assert_alike(square, path)


def test_one_file_that_fails_the_others_is_read_by_the_loader(tmp_path: Path) -> None:
    """Its header and its end are as they should be, and there is nothing between them."""
    paths = [save(tmp_path / f"{n}.jpg", picture(120, 100, n)) for n in range(3)]
    data = paths[1].read_bytes()
    start = data.index(b"\xff\xda")
    paths[1].write_bytes(data[:start] + b"\xff\xd9")
    found = read(paths)
    assert found[1] is None
    for n in (0, 2):
        assert_alike(found[n], paths[n])


@pytest.mark.parametrize("error", [RuntimeError, OSError, NotImplementedError])
def test_a_device_without_a_decoder_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    asked = []

    def refuse(files: list[torch.Tensor], **_: Any) -> list[torch.Tensor]:
        asked.append(len(files))
        raise error("no nvJPEG in this build")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", refuse)
    monkeypatch.setattr(gpu_decoding, "TOGETHER", 2)
    paths = [save(tmp_path / f"{n}.jpg", picture(120, 100, n)) for n in range(5)]
    for square, path in zip(read(paths), paths, strict=True):
        np.testing.assert_array_equal(square, images.load_pixels(path, SIDE))
    assert asked == ([2, 2, 1] if error is RuntimeError else [2])  # one odd file may be the reason


def test_the_device_holds_so_many_pixels_at_once(
    tmp_path: Path, on_device: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(tmp_path / f"{n}.jpg", picture(100, 100, n)) for n in range(7)]
    monkeypatch.setattr(gpu_decoding, "MAX_PIXELS_AT_ONCE", 30_000)
    found = read(paths)
    assert on_device == [3, 3, 1]
    monkeypatch.setattr(gpu_decoding, "TOGETHER", 2)
    np.testing.assert_array_equal(read(paths), found)  # type: ignore[arg-type]
    assert on_device[3:] == [2, 2, 2, 1]
    for square, path in zip(found, paths, strict=True):
        assert_alike(square, path)


def test_a_cache_does_not_ask_who_read_the_photos(tmp_path: Path, on_device: list[int]) -> None:
    """A run that began on a GPU goes on without one."""
    paths = [save(tmp_path / f"{n}.jpg", picture(120, 100, n)) for n in range(3)]
    folder = tmp_path / "cache"

    read_all = partial(gpu_decoding.read_all, device=DEVICE)
    list(pixels.cache_photos(paths, SIDE, folder, 1, read_all))
    first = pixels.PixelStore(folder)
    assert on_device == [3]
    list(pixels.cache_photos(paths, SIDE, folder, 1))
    for n, path in enumerate(paths):
        assert_alike(first[n], path)
        np.testing.assert_array_equal(pixels.PixelStore(folder)[n], first[n])
