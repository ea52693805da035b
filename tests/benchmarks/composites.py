"""Wide pictures of an object at a chosen place: one photo's object on another photo."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from litecli.photos import images

HEIGHT, RATIOS, SHARES = 400, (4 / 3, 16 / 9), (0.9, 0.7, 0.5)
# At an end or in the middle of the longer side, and the object's share of the picture's height.
PLACES = [("end", share) for share in SHARES] + [("middle", share) for share in SHARES]


def pictures(
    image: Image.Image, grounds: list[Path], rng: np.random.Generator
) -> Iterator[tuple[int, Image.Image]]:
    """One photo's object at all PLACES, on one background."""
    thing, ratio = cut_out(image), RATIOS[int(rng.integers(2))]
    end, height = float(rng.integers(2)), float(rng.random())
    ground = images.open_photo(grounds[int(rng.integers(len(grounds)))]).image
    for number, (place, share) in enumerate(PLACES):
        x = end if place == "end" else 0.5
        yield number, compose(thing, ground, ratio, share, x, height)


def cut_out(image: Image.Image) -> Image.Image:
    """The object with an alpha channel: cut out of plain blue, else a square with soft edges."""
    pixels = np.asarray(image).astype(np.int16)
    blue = (pixels[..., 2] > pixels[..., 0] + 25) & (pixels[..., 2] > pixels[..., 1] + 18)
    rim = np.concatenate([blue[0], blue[-1], blue[:, 0], blue[:, -1]])
    mask = Image.fromarray((~blue * 255).astype(np.uint8)).filter(ImageFilter.MedianFilter(7))
    if rim.mean() > 0.9 and (box := mask.getbbox()):
        mask = mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(1))
    else:
        edge = min(image.size)
        left, top = (image.width - edge) // 2, (image.height - edge) // 2
        box, soft = (left, top, left + edge, top + edge), max(1, edge // 16)
        mask = Image.new("L", image.size, 0)
        mask.paste(255, (left + soft, top + soft, left + edge - soft, top + edge - soft))
        mask = mask.filter(ImageFilter.GaussianBlur(soft / 2))
    result = image.copy()
    result.putalpha(mask)
    return result.crop(box)


def compose(
    thing: Image.Image, ground: Image.Image, ratio: float, share: float, x: float, y: float
) -> Image.Image:
    """`thing`, its longer side `share` of the picture's height, at (x, y) of the room it has."""
    width = round(HEIGHT * ratio)
    wide, high = ground.width, ground.height
    part = (high * ratio, high) if wide > high * ratio else (wide, wide / ratio)
    left, top = (wide - part[0]) / 2, (high - part[1]) / 2
    box = (left, top, left + part[0], top + part[1])
    picture = ground.resize((width, HEIGHT), Image.Resampling.BICUBIC, box=box)
    scale = share * HEIGHT / max(thing.size)
    size = max(1, round(thing.width * scale)), max(1, round(thing.height * scale))
    thing = thing.resize(size, Image.Resampling.BICUBIC)
    place = round((width - size[0]) * x), round((HEIGHT - size[1]) * y)
    picture.paste(thing, place, thing)
    return picture
