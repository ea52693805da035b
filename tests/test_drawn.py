"""Drawn objects: every view is a function of its arguments and shows its object."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litecli.drawn import scenes
from litecli.drawn.backgrounds import background
from litecli.drawn.shapes import Piece, box, curve, named_drawings, oval, path, smooth

SIDE = 96


def share_covered(drawing: tuple[Piece, ...], seed: int) -> float:
    """The part of the picture that the drawing alone covers, in a random pose."""
    layer = Image.new("RGBA", (SIDE, SIDE))
    pose = scenes._pose(np.random.default_rng(seed), SIDE, turn=35)
    scenes._paint(layer, drawing, pose)
    return float((np.asarray(layer)[..., 3] > 0).mean())


def area(outline: np.ndarray) -> float:
    """Area of a closed outline (shoelace formula)."""
    x, y = outline.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def test_there_are_many_objects_and_their_names_make_folders() -> None:
    assert len(scenes.OBJECTS) >= 24
    assert len(set(scenes.OBJECTS)) == len(scenes.OBJECTS)
    assert all(name.replace(" ", "").isalpha() and name.islower() for name in scenes.OBJECTS)


@pytest.mark.parametrize("name", scenes.OBJECTS)
def test_every_object_draws_at_several_seeds_and_sizes(name: str) -> None:
    for seed, side in ((0, 32), (1, 65), (2, 128)):
        picture = scenes.draw(name, seed, side)
        assert picture.mode == "RGB"
        assert picture.size == (side, side)


@pytest.mark.parametrize("name", scenes.OBJECTS)
def test_every_object_fills_a_fair_part_of_the_picture_and_stays_inside(name: str) -> None:
    drawing = named_drawings()[name]
    shares = [share_covered(drawing, seed) for seed in range(8)]
    assert min(shares) > 0.03
    assert max(shares) < 0.75
    reach = [np.abs(o).max() for piece in drawing if piece.clip is None for o in piece.outlines]
    assert max(reach) < 1.1


def test_invented_objects_fill_a_fair_part_of_the_picture() -> None:
    shares = [share_covered(scenes.random_class(c, seed=3), seed=c) for c in range(60)]
    assert min(shares) > 0.02
    assert 0.1 < float(np.median(shares)) < 0.5


def test_the_object_is_what_two_views_of_one_scene_differ_by() -> None:
    # The same generator draws both scenes, so all that can differ is the drawing itself.
    empty: tuple[Piece, ...] = ()
    mug = named_drawings()["red mug"]
    drawn = [
        scenes._scene(np.random.default_rng(5), drawing, SIDE, turn=35).astype(int)
        for drawing in (mug, empty)
    ]
    changed = (np.abs(drawn[0] - drawn[1]).max(-1) > 40).mean()
    assert 0.05 < changed < 0.6


def test_draw_is_a_pure_function_of_its_arguments() -> None:
    first = np.asarray(scenes.draw("guitar", 4, SIDE, 2))
    np.random.seed(1)
    state = np.random.get_state()[1].copy()  # pyright: ignore
    scenes.draw("umbrella", 0, SIDE)
    again = np.asarray(scenes.draw(scenes.OBJECTS.index("guitar"), 4, SIDE, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(state, np.random.get_state()[1])  # pyright: ignore


def test_another_seed_view_or_object_is_another_picture() -> None:
    pictures = [
        scenes.draw(name, seed, 64, view).tobytes()
        for name in ("red mug", "house key")
        for seed in range(3)
        for view in range(3)
    ]
    assert len(set(pictures)) == len(pictures)


def test_class_views_are_pure_and_all_different() -> None:
    asked = [(c, v, s) for c in (0, 2, 10**6) for v in (0, 1, 999) for s in (0, 1)]
    views = [scenes.class_view(c, v, s, 48) for c, v, s in asked]
    assert all(view.shape == (48, 48, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == len(views)
    for (c, v, s), view in zip(reversed(asked), reversed(views), strict=True):
        assert np.array_equal(scenes.class_view(c, v, s, 48), view)


def test_repainting_changes_colours_and_keeps_shapes() -> None:
    plain, painted = scenes.random_class(7, 0), scenes.random_class(7, 0, palette_seed=1)
    assert [p.colour for p in plain] != [p.colour for p in painted]
    for one, other in zip(plain, painted, strict=True):
        assert one.width == other.width
        assert all(np.array_equal(a, b) for a, b in zip(one.outlines, other.outlines, strict=True))


def test_class_seeds_give_other_classes() -> None:
    shapes = {
        np.concatenate([o for piece in scenes.random_class(c, s) for o in piece.outlines]).tobytes()
        for c in range(20)
        for s in range(5)
    }
    assert len(shapes) == 100


def test_mean_colour_alone_does_not_name_the_class() -> None:
    # Nearest class mean of 5 views, 10 classes: chance is 0.1.
    way, shots, queries = 10, 5, 5
    views = np.array(
        [[scenes.class_view(c, v, 0, 48) for v in range(shots + queries)] for c in range(way)],
        np.float32,
    )
    mean_colour = views.mean((2, 3))
    prototypes = mean_colour[:, :shots].mean(1)
    distances = ((mean_colour[:, shots:, None] - prototypes) ** 2).sum(-1)
    right = (distances.argmin(-1) == np.arange(way)[:, None]).mean()
    assert right < 0.4


def test_backgrounds_vary_and_are_pictures() -> None:
    grounds = [background(np.random.default_rng(seed), 40) for seed in range(30)]
    for ground in grounds:
        assert ground.shape == (3, 40, 40)
        assert ground.dtype == np.float32
        assert 0 <= ground.min() <= ground.max() <= 1
    assert np.std([ground.mean() for ground in grounds]) > 0.05


def test_write_folder_writes_the_same_photos_again_and_new_ones_for_a_new_seed(
    tmp_path: Path,
) -> None:
    names = ("red mug", "die")
    bytes_of = {}
    for folder, seed in (("a", 0), ("again", 0), ("new", 1)):
        written = scenes.write_folder(tmp_path / folder, names, photos=3, seed=seed, side=64)
        found = sorted((tmp_path / folder).rglob("*.*"))
        assert sorted(written) == found
        assert [p.relative_to(tmp_path / folder).as_posix() for p in found] == [
            f"{name}/photo_{k}.jpg" for name in sorted(names) for k in (1, 2, 3)
        ]
        with Image.open(found[0]) as photo:
            assert photo.format == "JPEG"
            assert photo.size == (64, 64)
        bytes_of[folder] = [path.read_bytes() for path in found]
    assert bytes_of["a"] == bytes_of["again"]
    assert not set(bytes_of["a"]) & set(bytes_of["new"])


def test_unknown_names_and_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="unicorn"):
        scenes.draw("unicorn", 0)
    with pytest.raises(ValueError):
        scenes.draw("die", -1)
    with pytest.raises(ValueError):
        scenes.class_view(-1, 0, 0, 32)


def test_outlines_have_the_area_of_what_they_are_called() -> None:
    assert area(oval(0.3, -0.2, 0.5, 0.25)) == pytest.approx(np.pi * 0.125, rel=0.01)
    assert area(box(-0.5, -0.25, 0.5, 0.25)) == pytest.approx(0.5)
    rounded = area(box(-0.5, -0.25, 0.5, 0.25, 0.1))
    assert rounded == pytest.approx(0.5 - (4 - np.pi) * 0.01, rel=0.01)


def test_curves_pass_through_their_points() -> None:
    points = (0.0, 0.0, 1.0, 0.5, 0.5, 1.0, -0.5, 0.25)
    line, loop = curve(*points), smooth(*points)
    for point in path(*points):
        assert np.abs(line - point).sum(1).min() < 1e-12
        assert np.abs(loop - point).sum(1).min() < 1e-12
    assert np.allclose(line[[0, -1]], path(*points)[[0, -1]])
    assert np.allclose(loop[0], loop[-1])


def test_a_clipped_piece_stays_inside() -> None:
    pieces = (Piece("#ff0000", (box(-1, -1, 1, 1),), clip=oval(0, 0, 0.5)),)
    layer = Image.new("RGBA", (200, 200))
    scenes._paint(layer, pieces, np.array([[100, 0, 100], [0, 100, 100], [0, 0, 1.0]]))
    share = (np.asarray(layer)[..., 3] > 0).mean()
    assert share == pytest.approx(np.pi * 0.25 / 4, rel=0.03)
