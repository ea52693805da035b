"""Training data: class folders and ORBIT's layout are recognised, photos are decoded once."""

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.photos import images
from litecli.pictures.pixels import PixelStore, cache, cache_photos
from litecli.tasks.datasets import FRAMES_APART, read_dataset, training_folders


def save(path: Path, value: int, size: tuple[int, int] = (20, 20)) -> Path:
    """A plain grey photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def exhaust(steps: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return list(steps)


def test_class_folders_become_one_source(tmp_path: Path) -> None:
    root = tmp_path / "my birds"
    for name in ("blue tit/a.jpg", "blue tit/more/b.PNG", "robin/1.jpg", "robin/2.jpg"):
        save(root / name, 99)
    save(root / "lonely/only.jpg", 1)
    save(root / ".hidden/a.jpg", 1)
    save(root / ".hidden/b.jpg", 1)
    save(root / "robin/.thumb.jpg", 1)
    (root / "robin/notes.txt").write_text("no photo")
    dataset = read_dataset([root])
    (source,) = dataset.sources
    assert (source.name, source.classes, source.query) == ("my birds", ("blue tit", "robin"), None)
    named = [[dataset.paths[n].name for n in pool] for pool in source.support]
    assert named == [["a.jpg", "b.PNG"], ["1.jpg", "2.jpg"]]
    assert dataset.num_classes() == 2


@pytest.mark.parametrize("split", ["", "train"])
def test_orbits_layout_gives_a_source_per_user(tmp_path: Path, split: str) -> None:
    root = tmp_path / "orbit" / split
    for user, objects in (("P100", ("front door keys", "mug")), ("P200", ("remote", "my wallet"))):
        for thing in objects:
            for frame in range(FRAMES_APART + 1):
                save(root / user / thing / "clean" / "video 1" / f"f{frame:05}.jpg", 10)
            save(root / user / thing / "clutter" / "v2" / "f00001.jpg", 200)
    save(root / "P300" / "just one thing" / "clean" / "v" / "1.jpg", 1)
    save(root / "P300" / "just one thing" / "clutter" / "v" / "1.jpg", 1)
    dataset = read_dataset([tmp_path / "orbit"])
    assert [source.name for source in dataset.sources] == ["P100", "P200"]
    assert dataset.sources[0].classes == ("front door keys", "mug")
    for source in dataset.sources:
        assert source.query is not None
        for support, query in zip(source.support, source.query, strict=True):
            frames = [dataset.paths[n] for n in support]
            assert [f.name for f in frames] == ["f00000.jpg", f"f{FRAMES_APART:05}.jpg"]
            assert all(f.parent.parent.name == "clean" for f in frames)
            assert [dataset.paths[n].parent.parent.name for n in query] == ["clutter"]


def save_user(folder: Path) -> Path:
    """An ORBIT user's folder: of each thing a second of clean video, and a frame of clutter."""
    for n, thing in enumerate(("keys", "mug")):
        for frame in range(FRAMES_APART + 1):
            save(folder / thing / "clean" / "v1" / f"{frame:05}.jpg", 40 * n)
        save(folder / thing / "clutter" / "v2" / "00001.jpg", 40 * n + 9)
    return folder


def test_one_user_of_orbit_is_recognised(tmp_path: Path) -> None:
    (source,) = read_dataset([save_user(tmp_path / "test" / "P7")]).sources
    assert (source.name, source.classes) == ("P7", ("keys", "mug"))
    assert [len(pool) for pool in source.support] == [2, 2]  # not frames beside each other
    assert source.query is not None and [len(pool) for pool in source.query] == [1, 1]


def test_a_folder_called_clean_makes_no_orbit_tree(tmp_path: Path) -> None:
    for name in ("clean/1.jpg", "clean/2.jpg", "dirty/1.jpg", "dirty/2.jpg"):
        save(tmp_path / "plates" / "old" / name, 5)
        save(tmp_path / "plates" / "new" / name, 5)
    dataset = read_dataset([tmp_path / "plates"])
    assert dataset.sources[0].classes == ("new", "old") and len(dataset.paths) == 8


def test_orbits_test_users_are_not_to_train_on(tmp_path: Path) -> None:
    root = tmp_path / "orbit"
    for name in ("train/P1", "train/P2", "validation/P3", "test/P4"):
        save_user(root / name)
    save(tmp_path / "birds" / "robin" / "1.jpg", 1)
    found = training_folders([root, tmp_path / "birds", root / "test"])
    training = [root / "train", tmp_path / "birds", root / "test"]  # the last one was asked for
    assert found == (training, [root / "validation"], [root / "test"])
    shutil.rmtree(root / "train")
    with pytest.raises(LiteError, match="no train/ users") as caught:
        training_folders([root])
    assert caught.value.code == ExitCode.INPUT and "validation" in caught.value.fix


def test_several_folders_number_their_photos_through(tmp_path: Path) -> None:
    for root in ("one", "two"):
        for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"):
            save(tmp_path / root / name, 5)
    dataset = read_dataset([tmp_path / "one", tmp_path / "two"])
    assert [source.support for source in dataset.sources] == [((0, 1), (2, 3)), ((4, 5), (6, 7))]


@pytest.mark.parametrize(("content", "code"), [(None, ExitCode.USAGE), ("a/1.jpg", ExitCode.INPUT)])
def test_no_folder_and_no_classes_are_refused(
    tmp_path: Path, content: str | None, code: ExitCode
) -> None:
    if content:
        save(tmp_path / "data" / content, 1)
    with pytest.raises(LiteError, match="data") as caught:
        read_dataset([tmp_path / "data"])
    assert caught.value.code == code


def test_unreadable_photos_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg"):
        save(root / name, 50)
    (root / "a/2.jpg").write_bytes(b"no photo at all")
    (root / "b/2.jpg").unlink()
    (root / "b/2.jpg").symlink_to(root / "nowhere.jpg")
    dataset = read_dataset([root])
    exhaust(cache_photos(dataset.paths, 8, tmp_path / "cache", 2))
    store = PixelStore(tmp_path / "cache")
    assert store.usable.tolist() == [True, False, True, True, False]
    (source,) = dataset.keep(store.usable).sources
    assert (source.classes, source.support) == (("a",), ((0, 2),))
    assert dataset.keep(np.zeros(5, bool)).sources == ()


def test_stored_squares_are_the_loaders_own(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.png", 40 * n, (30 + n, 20)) for n in range(5)]
    steps = exhaust(cache_photos(paths, 12, tmp_path / "cache", 2))
    assert steps[-1] == (5, 5)
    store = PixelStore(tmp_path / "cache")
    assert len(store) == 5
    for n, path in enumerate(paths):
        np.testing.assert_array_equal(store[n], images.load_pixels(path, 12))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The photos that were decoded, as they come."""
    seen: list[Path] = []
    load = images.load_pixels

    def counted(path: Path, side: int) -> np.ndarray:
        seen.append(path)
        return load(path, side)

    monkeypatch.setattr(images, "load_pixels", counted)
    return seen


def test_a_cache_is_used_again_until_the_photos_change(tmp_path: Path, reads: list[Path]) -> None:
    paths = [save(tmp_path / f"{n}.png", 10 * n) for n in range(4)]
    folder = tmp_path / "cache"

    def values() -> list[int]:
        exhaust(cache_photos(paths, 8, folder, 1))
        store = PixelStore(folder)
        return [int(store[n].max()) for n in range(len(store))]

    assert values() == values() == [0, 10, 20, 30]
    assert len(reads) == 4
    save(paths[1], 222, (40, 40))
    assert values() == [0, 222, 20, 30]
    assert len(reads) == 8
    exhaust(cache_photos(paths, 9, folder, 1))
    assert len(reads) == 12
    assert PixelStore(folder)[0].shape == (9, 9, 3)


def cut_off(folder: Path, paths: list[Path]) -> None:
    steps = cache_photos(paths, 8, folder, 1)
    next(steps)
    steps.close()  # type: ignore[attr-defined]


def truncated(folder: Path, paths: list[Path]) -> None:
    exhaust(cache_photos(paths, 8, folder, 1))
    pixels = folder / "pixels.u8"
    pixels.write_bytes(pixels.read_bytes()[:-1])


def no_index(folder: Path, paths: list[Path]) -> None:
    exhaust(cache_photos(paths, 8, folder, 1))
    (folder / "index.json").write_bytes(b"{")


@pytest.mark.parametrize("harm", [cut_off, truncated, no_index])
def test_a_cache_that_is_not_whole_is_made_anew(
    tmp_path: Path, harm: Callable[[Path, list[Path]], None]
) -> None:
    paths = [save(tmp_path / f"{n}.png", n) for n in range(100)]
    harm(tmp_path / "cache", paths)
    exhaust(cache_photos(paths, 8, tmp_path / "cache", 2))
    store = PixelStore(tmp_path / "cache")
    assert [int(store[n].max()) for n in range(100)] == list(range(100))


def test_a_cache_whose_replacing_was_cut_off_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    old = [save(tmp_path / "old" / f"{n}.png", 1) for n in range(100)]
    new = [save(tmp_path / "new" / f"{n}.png", 2) for n in range(100)]
    exhaust(cache_photos(old, 8, folder, 1))
    steps = cache_photos(new, 8, folder, 1)
    while next(steps) != (100, 100):
        pass
    steps.close()  # type: ignore[attr-defined]  # all is written but the index
    exhaust(cache_photos(old, 8, folder, 1))
    store = PixelStore(folder)
    assert {int(store[n].max()) for n in range(100)} == {1}


def test_squares_that_are_mapped_stay_when_the_cache_is_made_anew(tmp_path: Path) -> None:
    """Another process of a run may see a photo more, and must not change what the first one has."""
    paths = [save(tmp_path / f"{n}.png", n) for n in range(3)]
    exhaust(cache_photos(paths, 8, tmp_path / "cache", 1))
    old = PixelStore(tmp_path / "cache")
    exhaust(cache_photos(paths[::-1][:2], 8, tmp_path / "cache", 1))
    assert [int(old[n].max()) for n in range(3)] == [0, 1, 2]
    assert [int(PixelStore(tmp_path / "cache")[n].max()) for n in range(2)] == [2, 1]


def test_a_full_disk_says_how_much_is_needed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    paths = [save(tmp_path / f"{n}.png", n) for n in range(3)]
    with pytest.raises(LiteError, match="disk full") as error:
        exhaust(cache_photos(paths, 8, tmp_path / "cache", 1))
    assert error.value.code == ExitCode.MACHINE
    assert "GB in" in error.value.why and "--out" in error.value.fix
    assert not any((tmp_path / "cache").iterdir())


def test_nothing_readable_is_an_empty_store(tmp_path: Path) -> None:
    def refuse(number: int) -> np.ndarray:
        raise PhotoError("broken")

    exhaust(cache(refuse, 3, "key", tmp_path / "cache", 1))
    assert not PixelStore(tmp_path / "cache").usable.any()
    shutil.rmtree(tmp_path / "cache")
