"""Drawn objects in photo-like scenes: the demo's folders, and endless classes to train on.

A view is a background, things lying about, the object in some pose, and a light over it all. Every
view is a pure function of its arguments. Shapes are painted at twice the size and averaged down;
everything else happens on small arrays, so that a training view costs a few milliseconds.
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from litecli.drawn.backgrounds import background
from litecli.drawn.shapes import Drawing, Piece, named_drawings, oval, random_drawing, star

OBJECTS: tuple[str, ...] = tuple(named_drawings())

_CLUTTER = ["#c94f4f", "#4f7fc9", "#5aa469", "#d9a441", "#8e6bbf", "#d97fa6", "#3f4650", "#e9e4da"]


def _pose(rng: np.random.Generator, side: int, turn: float) -> np.ndarray:
    """A random 3x3 projective matrix from drawing coordinates to pixels of a `side` square.

    `turn` is the largest rotation in degrees; the object may lean away and stand off centre.
    """
    size, angle = rng.uniform(0.27, 0.45) * side, np.radians(rng.uniform(-turn, turn))
    squeeze = rng.uniform(0.8, 1.0, 2)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.eye(3)
    matrix[:2, :2] = size * spin * squeeze
    matrix[:2, 2] = side / 2 + rng.uniform(-1, 1, 2) * 0.85 * (side / 2 - size)
    lean = np.eye(3)
    lean[2, :2] = rng.uniform(-0.18, 0.18, 2)
    return matrix @ lean


def _paint(layer: Image.Image, drawing: Drawing, matrix: np.ndarray) -> None:
    """Paint the drawing onto an RGBA layer, its coordinates taken through `matrix`."""
    scale = abs(np.linalg.det(matrix)) ** 0.5

    def stroke(brush: ImageDraw.ImageDraw, piece: Piece, colour: str | int) -> None:
        for outline in piece.outlines:
            spots = outline @ matrix[:, :2].T + matrix[:, 2]
            points = (spots[:, :2] / spots[:, 2:]).astype(np.float32)
            flat = points.ravel().tolist()
            if not piece.width:
                brush.polygon(flat, fill=colour)
                continue
            radius = piece.width * scale / 2
            brush.line(flat, fill=colour, width=max(1, round(2 * radius)))
            for x, y in points.tolist() if radius > 1.5 else ():
                brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    for piece in drawing:
        if piece.clip is None:
            stroke(ImageDraw.Draw(layer), piece, piece.colour)
            continue
        inside, marks = Image.new("L", layer.size), Image.new("L", layer.size)
        stroke(ImageDraw.Draw(inside), Piece("", (piece.clip,)), 255)
        stroke(ImageDraw.Draw(marks), piece, 255)
        mask = ImageChops.darker(inside, marks)
        if where := mask.getbbox():
            layer.paste(piece.colour, where, mask.crop(where))


def _clutter(rng: np.random.Generator, count: int) -> Drawing:
    """One plain small thing per piece, round the origin and about 1 in size."""
    shapes = (oval(0, 0, 1), oval(0, 0, 1, 0.3), star(4, 0.9), star(3, 0.6), star(5, 0.45))
    colours = rng.choice(_CLUTTER, count)
    return tuple(Piece(str(c), (shapes[rng.integers(len(shapes))],)) for c in colours)


def _place(rng: np.random.Generator, x: float, y: float, size: float) -> np.ndarray:
    """A 3x3 matrix that turns a small thing anyhow and puts it at (x, y) pixels."""
    turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1)
    sine, cosine = size * np.sin(turn), size * np.cos(turn)
    return np.array([[cosine, -sine * stretch, x], [sine, cosine * stretch, y], [0, 0, 1]])


def _light(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """The picture [3, side, side] under a random light: colour, slope, corners, a cast shadow."""
    axis = np.linspace(-1, 1, picture.shape[-1], dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.2, 0.2, 2).astype(np.float32)
    corners = np.float32(rng.uniform(0, 0.2))
    gain = 1 + slope_x * axis + slope_y * axis[:, None] - corners * (axis**2 + axis[:, None] ** 2)
    if rng.random() < 0.3:  # somebody's or a window's shadow lies over part of the scene
        turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
        beyond = np.float32(np.cos(turn)) * axis + np.float32(np.sin(turn)) * axis[:, None]
        depth = np.float32(rng.uniform(0.15, 0.4))
        gain = gain * (1 - depth * np.clip((beyond - np.float32(reach)) * 8, 0, 1))
    warmth, tint = rng.uniform(-0.1, 0.1), rng.uniform(-0.03, 0.03)
    cast = rng.uniform(0.78, 1.18) * np.array([1 + warmth, 1 + tint, 1 - warmth])
    return picture * (cast.astype(np.float32)[:, None, None] * gain)


def _lay(rng: np.random.Generator, picture: np.ndarray, layer: Image.Image) -> None:
    """Lay a painted layer of twice the size over the picture, with a soft shadow and round edges.

    `picture` [3, side, side] is changed in place, only where the layer or its shadow can reach.
    """
    side = picture.shape[-1]
    room = side // 10  # more than shadow and blur reach
    left, top, right, bottom = layer.getbbox() or (0, 0, 2, 2)
    left, top = max(0, left // 2 - room), max(0, top // 2 - room)
    right, bottom = min(side, right // 2 + 1 + room), min(side, bottom // 2 + 1 + room)
    layer = layer.crop((2 * left, 2 * top, 2 * right, 2 * bottom)).convert("RGBa").reduce(2)
    *colours, alpha = (np.asarray(plane, np.float32) / 255 for plane in layer.split())
    # Shadow and edge light need no detail: they are made at a quarter of the size.
    size = (max(1, layer.width // 4), max(1, layer.height // 4))
    quarter = layer.getchannel("a").resize(size, Image.Resampling.BOX)
    soft = np.asarray(quarter.filter(ImageFilter.GaussianBlur(side / 110)), np.float32) / 255
    turn, step = rng.uniform(0, 2 * np.pi), side / 130
    down, across = round(step * np.sin(turn)), round(step * np.cos(turn))
    rim = 2 * max(abs(down), abs(across))
    padded = np.pad(soft, rim, mode="edge")

    def moved(times: int) -> np.ndarray:
        """`soft` moved away from the light by `times` steps."""
        y, x = rim - times * down, rim - times * across
        return padded[y : y + size[1], x : x + size[0]]

    shadow, edges = (
        np.asarray(Image.fromarray(plane).resize(layer.size, Image.Resampling.BILINEAR))
        for plane in (np.ascontiguousarray(moved(2)), moved(1) - moved(-1))
    )
    seen = (1 - np.float32(rng.uniform(0.25, 0.6)) * shadow) * (1 - alpha)
    lit = 1 - np.float32(0.45) * edges
    for plane, colour in zip(picture, colours, strict=True):
        patch = plane[top:bottom, left:right]
        patch[...] = patch * seen + colour * lit


def _scene(rng: np.random.Generator, drawing: Drawing, side: int, turn: float) -> np.ndarray:
    """A photo-like view of the drawing, turned by at most `turn`: uint8 [side, side, 3]."""
    big = 2 * side
    pose = _pose(rng, big, turn)
    layer = Image.new("RGBA", (big, big))
    for piece in _clutter(rng, int(rng.integers(1, 7))):
        x, y = rng.random(2) * big
        _paint(layer, (piece,), _place(rng, x, y, rng.uniform(0.03, 0.12) * big))
    _paint(layer, drawing, pose)
    picture = background(rng, side)
    _lay(rng, picture, layer)
    if rng.random() < 0.4:  # something in front hides a bit of the edge
        front = Image.new("RGBA", (big, big))
        away, size = rng.uniform(0, 2 * np.pi), np.linalg.det(pose) ** 0.5
        x, y = pose[:2, 2] + size * np.array([np.cos(away), np.sin(away)])
        _paint(front, _clutter(rng, 1), _place(rng, x, y, rng.uniform(0.2, 0.4) * size))
        _lay(rng, picture, front)
    picture = _light(rng, picture) * 255
    grain = np.frombuffer(rng.bytes(picture.size), np.int8).reshape(picture.shape)
    picture += grain * np.float32(rng.uniform(0, 0.1))
    pixels = np.clip(picture, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    photo = Image.fromarray(np.ascontiguousarray(pixels))
    if rng.random() < 0.35:
        photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1) * side / 224))
    return np.asarray(photo)


def draw(which: int | str, seed: int, side: int = 256, view: int = 0) -> Image.Image:
    """View number `view` of a named object, given by name or by its place in OBJECTS.

    An RGB picture of `side` pixels, a pure function of the arguments; the object is the same in
    every view, all else differs. Raises ValueError for an unknown name, or a negative number.
    """
    if isinstance(which, str) and which not in OBJECTS:
        raise ValueError(f"no drawn object is called {which!r}")
    index = OBJECTS.index(which) if isinstance(which, str) else which
    rng = np.random.default_rng([seed, index, view])
    return Image.fromarray(_scene(rng, named_drawings()[OBJECTS[index]], side, turn=35))


def _palette(rng: np.random.Generator) -> tuple[str, str, str]:
    """Three colours that tell body, pattern and parts apart."""
    hue, step = rng.integers(12) / 12, rng.choice([1 / 6, 1 / 3, 1 / 2])
    tints = [(hue, 0.7, 0.75), (hue + step, 0.6, 0.95), (hue - step, 0.75, 0.4), (hue, 0.1, 0.95)]
    chosen = [tints[k] for k in rng.permutation(4)[:3]]
    colours = [colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in chosen]
    main, second, third = ("#" + bytes(round(255 * c) for c in rgb).hex() for rgb in colours)
    return main, second, third


def random_class(class_index: int, seed: int, palette_seed: int | None = None) -> Drawing:
    """Invented object number `class_index`: shapes, pattern and colours, of an endless supply.

    `palette_seed` repaints it in other colours. A pure function of its arguments.
    """
    rng = np.random.default_rng([seed, class_index])
    palette = _palette(rng)
    if palette_seed is not None:
        palette = _palette(np.random.default_rng([seed, class_index, palette_seed]))
    return random_drawing(rng, palette)


def class_view(class_index: int, view: int, seed: int, side: int) -> np.ndarray:
    """View `view` of invented class `class_index`: uint8 [side, side, 3].

    A third of the classes change their colours from view to view, so that shape has to be learned
    too. A pure function of its arguments; raises ValueError if one is negative.
    """
    repainted = class_index % 3 == 2
    drawing = random_class(class_index, seed, view if repainted else None)
    return _scene(np.random.default_rng([seed, class_index, view, 1]), drawing, side, turn=50)


def write_folder(
    folder: Path, objects: Sequence[str], photos: int, seed: int, side: int = 320
) -> list[Path]:
    """Write `photos` JPEGs of each named object as FOLDER/OBJECT/photo_1.jpg, and so on.

    The same arguments write the same bytes; another seed gives new photos of the same objects.
    Returns the paths written. Raises ValueError for an unknown name, OSError if it cannot write.
    """
    written: list[Path] = []
    for name in objects:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(photos):
            target = folder / name / f"photo_{number + 1}.jpg"
            draw(name, seed, side, number).save(target, quality=90)
            written.append(target)
    return written
