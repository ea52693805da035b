"""What a network sees of a photo, what is noted of it, and what a start costs."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, JpegImagePlugin

from litecli.config import Preprocess
from litecli.photos import images

from .small_photos import BLUE, RED, encode, picture, swapped_profile, textured

# The network's input


def test_the_crop_is_rounded_as_torchvision_rounds():
    columns = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    wide = np.concatenate([columns, columns[:, :85]], axis=1)  # 341 x 256: nothing to resize
    square = images.to_square(Image.fromarray(wide).convert("RGB"), Preprocess())
    assert square.shape == (224, 224, 3)
    assert square[0, 0, 0] == 58  # (341 - 224) / 2 = 58.5, and round() goes to the even number


@pytest.mark.parametrize("size", [(1008, 756), (757, 1003), (300, 211), (100, 180), (256, 900)])
def test_the_square_is_that_of_the_whole_picture_resized(size: tuple[int, int]):
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image, preprocess = Image.fromarray(noise), Preprocess()
    width, height = (int(preprocess.resize_side * side / min(size)) for side in size)
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (round((side - 224) / 2) for side in whole.size)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)))
    difference = np.abs(images.to_square(image, preprocess).astype(int) - expected)
    assert difference.max() <= 1  # one level, where a value lies between two
    assert (difference > 0).mean() < 2e-3


def test_the_middle_is_resized_before_it_is_cut_out():
    image = Image.new("RGB", (800, 400), BLUE)
    ImageDraw.Draw(image).rectangle((200, 0, 599, 399), fill=RED)
    assert (images.to_square(image, Preprocess()) == RED).all()
    whole = images.to_square(image, Preprocess(crop_pct=1.0, image_size=400))
    assert (whole[:, :400] == RED).all()


def test_input_is_normalised_by_channel():
    pixels = np.array([[[0, 51, 255]]], dtype=np.uint8)
    values = images.to_input(pixels, Preprocess(mean=(0.5, 0.1, 0.0), std=(0.5, 0.2, 2.0)))
    assert values.dtype == np.float32 and values.flags.c_contiguous
    assert np.allclose(values[:, 0, 0], [-1.0, 0.5, 0.5])


def test_input_of_a_shrunk_photo_is_close_to_that_of_the_whole(tmp_path):
    preprocess = Preprocess(image_size=112)
    data = encode(textured(1100), "JPEG", quality=95)
    shrunk, photo = images.load_input(data, preprocess)
    assert min(photo.image.size) < 600
    whole = images.to_input(images.to_square(images.open_photo(data).image, preprocess), preprocess)
    assert np.abs(shrunk - whole).mean() * 0.225 * 255 < 0.5  # levels of 255
    (tmp_path / "photo.jpg").write_bytes(data)
    assert np.array_equal(images.load_input(tmp_path / "photo.jpg", preprocess)[0], shrunk)


@pytest.mark.parametrize(
    ("image", "notes"),
    [
        (textured(), ()),
        (textured().filter(ImageFilter.GaussianBlur(6)), ("blurred",)),
        (textured().point([value // 12 for value in range(256)] * 3), ("dark",)),
        (Image.new("RGB", (300, 300)), ("dark",)),
        (Image.new("RGB", (300, 300), "white"), ("bright",)),
        (textured().resize((40, 40)), ("very small",)),
    ],
)
def test_notes_on_how_a_photo_looks(image, notes):
    assert images.load_input(encode(image, "PNG"), Preprocess())[1].notes == notes


@pytest.mark.parametrize(
    ("size", "side"), [((400, 200), 50), ((200, 400), 50), ((60, 50), 50), ((40, 20), 20)]
)
def test_training_pixels_are_the_centre_square_never_blown_up(size, side):
    image = Image.new("RGB", size, BLUE)
    width, height = size
    edge = min(size)
    left, top = (width - edge) // 2, (height - edge) // 2
    ImageDraw.Draw(image).rectangle((left, top, left + edge - 1, top + edge - 1), fill=RED)
    pixels = images.load_pixels(encode(image, "PNG"), 50)
    assert pixels.shape == (side, side, 3) and pixels.dtype == np.uint8
    assert (pixels[4:-4, 4:-4] == RED).all()  # the resampling looks over the edge


def test_thumbnails_are_small_and_repeatable():
    image = images.open_photo(encode(picture(800, 400), "PNG", icc_profile=swapped_profile())).image
    data = images.thumbnail_jpeg(image)
    assert data == images.thumbnail_jpeg(image)
    thumbnail = Image.open(io.BytesIO(data))
    assert thumbnail.size == (160, 80) and "icc_profile" not in thumbnail.info
    assert image.size == (800, 400)


def test_photo_hash_is_the_sha256_of_the_bytes():
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert images.photo_hash(b"abc") == expected


# What a start costs


def test_reading_a_jpeg_imports_no_more_than_it_needs(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(picture(), "JPEG"))
    code = (
        "import sys; from pathlib import Path\n"
        "from litecli import config; from litecli.photos import images\n"
        f"images.load_input(Path({str(tmp_path / 'a.jpg')!r}), config.Preprocess())\n"
        "heavy = {'pillow_heif', 'PIL.ImageCms', 'PIL.TiffImagePlugin', 'torch', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_jpeg_reader_overrides_a_method_that_pillow_has():
    assert hasattr(JpegImagePlugin.JpegImageFile, "_read_dpi_from_exif")
