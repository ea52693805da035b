"""Outlines of drawn things: the shapes they are made of, and the named objects of the demo.

A drawing is a tuple of pieces, painted in order. Coordinates run from -1 to 1, x to the right and
y down. Nothing here touches pixels: scenes.py puts a drawing into a scene and paints it. The named
objects live in objects.txt, which explains its own notation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

Outline = np.ndarray  # [num_points, 2] float


@dataclass(frozen=True)
class Piece:
    """One colour laid on: filled outlines (`width` 0) or strokes of `width`, cut off at `clip`."""

    colour: str  # "#rrggbb"
    outlines: tuple[Outline, ...]
    width: float = 0.0
    clip: Outline | None = None


Drawing = tuple[Piece, ...]


def path(*numbers: float) -> Outline:
    """Straight lines through the points x, y, x, y ...; a filled path closes by itself."""
    return np.array(numbers, dtype=float).reshape(-1, 2)


def oval(
    x: float, y: float, rx: float, ry: float | None = None, start: float = 0, stop: float = 360
) -> Outline:
    """An ellipse round (x, y), or its arc from `start` to `stop` degrees, clockwise from 3."""
    angle = np.radians(np.linspace(start, stop, 33))
    return np.stack([x + rx * np.cos(angle), y + (ry or rx) * np.sin(angle)], 1)


def box(x0: float, y0: float, x1: float, y1: float, corner: float = 0.0) -> Outline:
    """An upright rectangle, its corners rounded by `corner`."""
    inner = path(x1 - corner, y1 - corner, x0 + corner, y1 - corner)
    inner = np.concatenate([inner, path(x0 + corner, y0 + corner, x1 - corner, y0 + corner)])
    if not corner:
        return inner
    bend = [oval(0, 0, corner, corner, 90 * k, 90 * k + 90)[::4] for k in range(4)]
    return np.concatenate([inner[k] + bend[k] for k in range(4)])


def curve(*numbers: float, closed: bool = False) -> Outline:
    """A smooth line through the points x, y, x, y ... (uniform Catmull-Rom spline)."""
    p = path(*numbers)
    p = np.concatenate([p[-1:], p, p[:2]] if closed else [p[:1], p, p[-1:]])
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = np.linspace(0, 1, 8, endpoint=False)[None, :, None]
    points = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate([points.reshape(-1, 2), p[-2:-1]])


def smooth(*numbers: float) -> Outline:
    """A smooth closed outline through the points x, y, x, y ..."""
    return curve(*numbers, closed=True)


def star(points: int, inner: float) -> Outline:
    """A star round the origin: `points` tips at 1, the notches at `inner`."""
    angle = np.arange(2 * points) * np.pi / points - np.pi / 2
    reach = np.where(np.arange(2 * points) % 2, inner, 1.0)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], 1)


def turned(outline: Outline, degrees: float, x: float = 0, y: float = 0) -> Outline:
    """The outline turned clockwise round the origin, then moved by (x, y)."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return outline @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)


def ring(outline: Outline, count: int, x: float = 0, y: float = 0) -> list[Outline]:
    """`count` copies of the outline turned evenly round the origin, then moved by (x, y)."""
    return [turned(outline, 360 * k / count, x, y) for k in range(count)]


_SHAPES: dict[str, Callable[..., Outline]] = {
    "oval": oval,
    "box": box,
    "path": path,
    "smooth": smooth,
    "curve": curve,
}
# How one outline becomes several, and how many numbers the word takes.
_COPIES: dict[str, tuple[int, Callable[..., list[Outline]]]] = {
    "mirror": (0, lambda outline: [outline, outline * (-1, 1)]),
    "row": (3, lambda outline, n, x, y: [turned(outline, 0, k * x, k * y) for k in range(int(n))]),
    "ring": (3, lambda outline, n, x, y: ring(outline, int(n), x, y)),
    "turn": (3, lambda outline, degrees, x, y: [turned(outline, degrees, x, y)]),
}


def _read_outlines(words: list[str]) -> list[Outline]:
    if words[0] in _COPIES:
        count, copies = _COPIES[words[0]]
        numbers = [float(word) for word in words[1 : 1 + count]]
        return [made for o in _read_outlines(words[1 + count :]) for made in copies(o, *numbers)]
    return [_SHAPES[words[0]](*(float(word) for word in words[1:]))]


def _read_drawing(lines: list[str]) -> Drawing:
    pieces: list[Piece] = []
    ground: Outline | None = None  # what `over` and `overline` stay inside
    for text in lines:
        kind, colour, rest = text.split(maxsplit=2)
        width = 0.0
        if kind.endswith("line"):
            first, rest = rest.split(maxsplit=1)
            width = float(first)
        outlines = tuple(o for part in rest.split("/") for o in _read_outlines(part.split()))
        clip = ground if kind.startswith("over") else None
        ground = outlines[0] if kind == "fill" else ground
        pieces.append(Piece(colour, outlines, width, clip))
    return tuple(pieces)


@cache
def named_drawings() -> dict[str, Drawing]:
    """Name -> drawing of every object in objects.txt, in the order of the file."""
    text = Path(__file__).with_name("objects.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    blocks = [block.splitlines() for block in "\n".join(lines).strip().split("\n\n")]
    return {block[0]: _read_drawing(block[1:]) for block in blocks}


def _random_outline(rng: np.random.Generator) -> Outline:
    """One closed outline of radius about 1, of a random family and proportions."""
    angle = np.linspace(0, 2 * np.pi, 49)
    family = rng.integers(6)
    if family == 0:  # a wavy blob
        waves = rng.uniform(0.0, 0.9, 4) / np.arange(2, 6)
        phases = rng.uniform(0, 2 * np.pi, 4)
        reach = 1 + sum(
            w * np.cos(k * angle + p) for k, w, p in zip(range(2, 6), waves, phases, strict=True)
        )
        outline = np.stack([reach * np.cos(angle), reach * np.sin(angle)], 1)
    elif family == 1:  # a polygon or a star
        outline = star(int(rng.integers(3, 8)), rng.choice([0.4, 0.6, 0.8, 1.0]))
    elif family == 2:  # petals
        reach = 1 + rng.uniform(0.15, 0.6) * np.cos(rng.integers(3, 9) * angle)
        outline = np.stack([reach * np.cos(angle), reach * np.sin(angle)], 1)
    elif family == 3:  # from a diamond over an oval to a rectangle
        power = rng.choice([0.35, 0.7, 1.0, 1.6])
        corner = np.stack([np.cos(angle), np.sin(angle)], 1)
        outline = np.sign(corner) * np.abs(corner) ** power
    elif family == 4:  # a smooth closed curve through a few points at random distances
        count = int(rng.integers(4, 8))
        reach = rng.uniform(0.35, 1.2, count)
        turn = np.arange(count) * 2 * np.pi / count
        outline = smooth(*np.stack([reach * np.cos(turn), reach * np.sin(turn)], 1).ravel())
    else:  # a profile mirrored left and right, like a vase
        widths = rng.uniform(0.15, 1.0, int(rng.integers(3, 7)))
        heights = np.linspace(-1, 1, len(widths))
        right = np.stack([widths, heights], 1)
        points = np.concatenate([right, right[::-1] * (-1, 1)]).ravel()
        outline = smooth(*points) if rng.random() < 0.5 else path(*points)
    outline = outline / np.abs(outline).max() * (1, rng.uniform(0.45, 1.0))
    return turned(outline, rng.choice([0, 45, 90, 135]))


def _random_pattern(rng: np.random.Generator) -> tuple[float, list[Outline]]:
    """(stroke width, outlines) of a pattern that covers the square from -1 to 1."""
    kind, step, turn = rng.integers(6), rng.uniform(0.22, 0.5), rng.choice([0, 45, 90, 135])
    at = np.arange(-1.5, 1.5, step)
    bars = [turned(path(x, -1.6, x, 1.6), turn) for x in at]
    if kind == 0:
        return step * rng.uniform(0.25, 0.6), bars
    if kind == 1:
        return step * 0.2, bars + [turned(bar, 90) for bar in bars]
    if kind == 2:
        size = step * rng.uniform(0.2, 0.38)
        return 0.0, [oval(x, y, size) for x in at for y in at + step / 2]
    if kind == 3:
        return step * rng.uniform(0.2, 0.5), [oval(0, 0, r) for r in at if r > 0.1]
    if kind == 4:
        zigzag = np.stack([at, (np.arange(len(at)) % 2 - 0.5) * step], 1)
        return step * 0.3, [turned(zigzag + path(0, y), turn) for y in at]
    return 0.0, [turned(box(rng.uniform(-0.5, 0.5), -2, 2, 2), turn)]


def random_drawing(rng: np.random.Generator, palette: tuple[str, str, str]) -> Drawing:
    """An invented object: a patterned body, parts round it and a mark on it.

    `palette` gives the colours of body, pattern and parts; the shapes come from `rng` alone, so
    one seed with two palettes is one object in two colours.
    """
    main, second, third = palette
    pieces: list[Piece] = []
    body = _random_outline(rng) * 0.62
    part = _random_outline(rng) * rng.uniform(0.18, 0.36)
    arrangement = rng.integers(5)
    turns = np.zeros(0)
    if arrangement < 2:  # parts turned evenly round the body
        turns = np.arange(0, 360, 360 / rng.integers(2, 7)) + rng.choice([0, 45, 90])
    elif arrangement < 4:  # one, two or three parts anywhere
        turns = rng.uniform(0, 360, int(rng.integers(1, 4)))
    # Parts sit on the body's edge, where it is in their direction, so that none floats free.
    edge = np.degrees(np.arctan2(body[:, 1], body[:, 0]))
    reach = np.hypot(body[:, 0], body[:, 1])
    nearest = [int(np.argmin(np.abs((edge - turn + 180) % 360 - 180))) for turn in turns]
    parts = [turned(part + path(reach[k], 0), t) for k, t in zip(nearest, turns, strict=True)]
    if rng.random() < 0.5:  # limbs: bent strokes that reach outwards
        bend, length = rng.uniform(-0.5, 0.5), rng.uniform(0.75, 1.0)
        limb = curve(0.2, 0, 0.55, bend / 2, length, bend)
        count = int(rng.integers(1, 6))
        pieces.append(Piece(second, tuple(ring(limb, count)), rng.uniform(0.05, 0.16)))
    behind = rng.random() < 0.6
    if behind and parts:
        pieces.append(Piece(third, tuple(parts)))
    pieces.append(Piece(main, (body,)))
    if rng.random() < 0.75:
        width, outlines = _random_pattern(rng)
        pieces.append(Piece(second, tuple(outlines), width, body))
    if not behind and parts:
        pieces.append(Piece(third, tuple(parts)))
    if rng.random() < 0.5:
        mark = _random_outline(rng) * rng.uniform(0.15, 0.3)
        pieces.append(Piece(third if behind else second, (mark,)))
    return _filling(pieces)


def _filling(pieces: list[Piece]) -> Drawing:
    """The pieces scaled together so that they reach 0.95 from the origin."""
    shown = [o for piece in pieces if piece.clip is None for o in piece.outlines]
    scale = 0.95 / max(np.abs(outline).max() for outline in shown)
    return tuple(
        Piece(
            piece.colour,
            tuple(scale * outline for outline in piece.outlines),
            scale * piece.width,
            None if piece.clip is None else scale * piece.clip,
        )
        for piece in pieces
    )
