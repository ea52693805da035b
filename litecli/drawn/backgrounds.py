"""Surfaces that drawn things lie on: wood, tiles, grass, cloth, stone, computed from a seed."""

import numpy as np
from PIL import Image, ImageDraw

# Dark and light colour of each background; a view takes one pair.
_GROUNDS: dict[str, tuple[str, ...]] = {
    "wood": ("#5c3a1e #9a6b3f", "#a9794a #d8b184", "#6f6259 #b3a596", "#3c241a #6e4a33"),
    "tiles": ("#8d99a6 #eef1f4", "#6b4a3a #c08a6a", "#45616b #9fc3c9", "#a39a8c #e6dfd0"),
    "grass": ("#23521d #79a83a", "#3d5a24 #a3b35a", "#6b5a2a #c2ad6a"),
    "fabric": ("#27406e #5d7fb5", "#7d2f3a #c9898c", "#8c8577 #d8d2c4", "#3f5d4b #8fb09b"),
    "checks": ("#b8433f #f4efe6", "#3d6ea5 #f1f3f5", "#5d7a4c #ecebd8", "#d9b64a #f7f0d6"),
    "plain": ("#7d8fa3 #cfd8e0", "#b99a7f #efe2d2", "#55505a #a49fa8", "#8ea58c #dbe6d6"),
    "stone": ("#5f6062 #a9aaab", "#877a69 #cdbfa9", "#3e4449 #7f868b", "#b0b0aa #e6e5df"),
    "pebbles": ("#4a4c50 #b9b5ac", "#6b5d4f #cbb99f", "#2f3b45 #8fa3b0"),
}


def _rgb(colour: str) -> np.ndarray:
    """A colour "#rrggbb" as [3, 1, 1] float32 from 0 to 1."""
    return np.array(list(bytes.fromhex(colour[1:])), np.float32).reshape(3, 1, 1) / 255


def _noise(rng: np.random.Generator, side: int, rows: int, columns: int) -> np.ndarray:
    """Smooth noise [side, side] float32, about 0 to 1, with that many bumps down and across."""
    grid = Image.fromarray(rng.random((max(1, rows), max(1, columns)), dtype=np.float32))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))


def background(rng: np.random.Generator, side: int) -> np.ndarray:
    """A surface to photograph things on: [3, side, side] float32 from 0 to 1."""
    kind = str(rng.choice(list(_GROUNDS)))
    dark, light = map(_rgb, str(rng.choice(_GROUNDS[kind])).split())
    turn, scale = rng.uniform(-0.5, 0.5) + rng.choice([0, np.pi / 2]), rng.uniform(3, 7)
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    x = np.float32(np.cos(turn)) * axis + np.float32(np.sin(turn)) * axis[:, None] + 2
    y = np.float32(np.cos(turn)) * axis[:, None] - np.float32(np.sin(turn)) * axis + 2
    soft = _noise(rng, side, 5, 5)
    tones = rng.random(64, dtype=np.float32)  # one tone per plank, tile or pebble
    if kind == "wood":
        plank = y * scale
        grain = np.sin(60 * y + 9 * soft + 2.5 * np.sin(7 * x))
        tone = 0.45 + 0.18 * grain + 0.4 * (tones[plank.astype(int) % 64] - 0.5)
        tone = np.where(plank % 1 < 0.04, 0, tone)
    elif kind == "tiles":
        row = (y * scale).astype(int)
        across = x * scale + 0.5 * (row % 2) * (tones[0] < 0.5)
        tone = 0.75 + 0.35 * (tones[(row * 7 + across.astype(int)) % 64] - 0.5) + 0.15 * soft
        tone = np.where((across % 1 < 0.06) | (y * scale % 1 < 0.06), 0.1, tone)
    elif kind == "grass":
        blades = _noise(rng, side, side // 9, side // 3) + _noise(rng, side, side // 4, side // 4)
        tone = 0.9 * (blades / 2 - 0.5) + 0.2 + 0.55 * soft
    elif kind == "fabric":
        weave = np.sin(x * (25 * scale)) * np.sin(y * (25 * scale))
        stripe = (x * scale % 1 < 0.2) * 0.5 + (y * scale % 1 < 0.2) * 0.5
        tone = 0.4 + 0.12 * weave + stripe * (tones[0] < 0.5) + 0.3 * (soft - 0.5)
    elif kind == "checks":
        tone = 0.5 * ((x * scale % 1 < 0.5) * 1.0 + (y * scale % 1 < 0.5)) + 0.1 * soft
    elif kind == "plain":
        tone = (x - 1.5) * 0.6 + 0.4 * soft + 0.05 * _noise(rng, side, side // 2, side // 2)
    elif kind == "stone":
        tone = 0.5 * soft + 0.3 * _noise(rng, side, 24, 24) + 0.2 * _noise(rng, side, 90, 90)
    else:  # pebbles
        half = Image.new("F", (side // 2, side // 2), 0.1)
        brush = ImageDraw.Draw(half)
        wide = side / 2 / scale * 0.35
        high, inner = wide * 0.7, 0.8  # a dark rim below and to the right gives them depth
        for (cx, cy), shade in zip(
            rng.random((150, 2)) * side / 2, np.tile(tones, 3), strict=False
        ):
            brush.ellipse((cx - wide, cy - high, cx + wide, cy + high), 0.1)
            low, far = cy + high * inner, cx + wide * inner
            brush.ellipse((cx - wide, cy - high, far, low), 0.25 + 0.6 * shade)
        tone = np.asarray(half.resize((side, side), Image.Resampling.BILINEAR)) + 0.2 * soft
    return dark + (light - dark) * np.clip(tone, 0, 1, dtype=np.float32)
