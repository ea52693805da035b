"""What adapt says of the photos: of the same ones, misplaced ones, useless ones, and too few."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model
from litecli.personal import predictions, same_shot
from litecli.photos.folders import Skipped

from .small_profiles import adapt, file_bytes, report_of


def test_the_same_photo_in_two_objects_is_left_out(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 4, "mug": 4})
    (folder / "mug" / "stray.jpg").write_bytes((folder / "keys" / "IMG_1.jpg").read_bytes())
    learned = adapt(folder, tiny_model)
    [note] = [note for note in learned.notes if "same photo" in note]
    assert note.startswith("keys/IMG_1.jpg and mug/stray.jpg are the same photo: which is it?")
    assert {skip.path for skip in learned.skipped} == {"keys/IMG_1.jpg", "mug/stray.jpg"}
    assert not {"keys/IMG_1.jpg", "mug/stray.jpg"} & set(learned.profile.photo_paths)
    assert [report.photos for report in learned.objects] == [3, 4]


def test_the_same_photo_twice_in_one_object_counts_once(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 4, "mug": 4})
    once = adapt(folder, tiny_model).profile
    (folder / "keys" / "IMG_2.jpg").rename(folder / "keys" / "IMG_1 (2).jpg")
    (folder / "keys" / "IMG_1 (1).jpg").write_bytes((folder / "keys" / "IMG_1.jpg").read_bytes())
    learned = adapt(folder, tiny_model)
    assert learned.embedded == 8
    paths = learned.profile.photo_paths
    assert len(paths) == 8 and list(paths) == sorted(paths)
    assert learned.skipped == (Skipped("keys/IMG_1 (1).jpg", "same photo as keys/IMG_1.jpg"),)
    np.testing.assert_array_equal(
        np.sort(learned.profile.embeddings, axis=0), np.sort(once.embeddings, axis=0)
    )


def test_unusable_files_are_skipped_and_named(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    clean = adapt(folder, tiny_model).profile
    (folder / "keys" / "page.jpg").write_text("<html><body>not found</body></html>")
    whole = (folder / "mug" / "IMG_0.jpg").read_bytes()
    (folder / "mug" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    learned = adapt(folder, tiny_model)
    assert {skip.path for skip in learned.skipped} == {"keys/page.jpg", "mug/cut.jpg"}
    assert all(skip.reason for skip in learned.skipped)
    told = learned.profile.check["left_out"]
    assert told == [[skip.path, skip.reason] for skip in learned.skipped]
    same = dataclasses.replace(learned.profile, check=learned.profile.check | {"left_out": []})
    assert file_bytes(same) == file_bytes(clean)


def test_an_object_without_a_usable_photo_is_not_learned(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3, "bowl": 1})
    (folder / "bowl" / "IMG_0.jpg").write_bytes(b"<html></html>")
    learned = adapt(folder, tiny_model)
    assert learned.profile.labels == ("keys", "mug")
    assert "no usable photo of bowl: not learned" in learned.notes
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"<html></html>")
    with pytest.raises(LiteError, match="None of the photos") as caught:
        adapt(folder, tiny_model)
    assert caught.value.code == ExitCode.INPUT


@pytest.mark.parametrize("counts", [{"keys": 1, "mug": 5}, {"keys": 1, "mug": 1}, {"keys": 1}])
def test_an_object_with_one_photo_is_learned_but_not_checked(
    tiny_model: Model,
    write_objects: Callable[..., Path],
    counts: dict[str, int],
    photo: Callable[[str, int], bytes],
) -> None:
    learned = adapt(write_objects(counts), tiny_model)
    report = report_of(learned, "keys")
    assert (report.check_correct, report.check_total) == (None, 0)
    assert report.notes.count("1 photo: add 4 more from other sides") == 1
    assert np.isfinite([learned.profile.temperature, learned.profile.unknown_threshold]).all()
    assert learned.forecast[0] <= 7
    [answer] = predictions.classify([("x", photo("keys", 60))], learned.profile, tiny_model)
    assert answer.label == "keys"


def test_a_photo_in_the_wrong_folder_is_pointed_out(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    folder = write_objects({"keys": 6, "mug": 6, "bowl": 6})
    (folder / "mug" / "wrong.jpg").write_bytes(photo("bowl", 321))
    report = report_of(adapt(folder, tiny_model), "mug")
    assert report.check_correct is not None and report.check_correct < report.check_total
    assert any(
        'look more like "bowl"' in note.replace("looks", "look") and "mug/wrong.jpg" in note
        for note in report.notes
    )


def test_a_burst_is_one_view_and_is_held_out_together(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 5, "mug": 5})
    with Image.open(folder / "keys" / "IMG_2.jpg") as image:
        for quality in (70, 80, 90):
            image.save(folder / "keys" / f"IMG_2_{quality}.jpg", quality=quality)
    learned = adapt(folder, tiny_model)
    note = "4 photos are nearly the same shot (about 1 view); move around it"
    assert note in report_of(learned, "keys").notes
    groups = same_shot.views(learned.profile.greys, learned.profile.photo_labels)
    assert sorted(np.bincount(groups)[np.unique(groups)]) == [1] * 9 + [4]


def test_an_object_whose_photos_are_all_one_shot_is_told_so(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 1, "mug": 3})
    with Image.open(folder / "keys" / "IMG_0.jpg") as image:
        image.save(folder / "keys" / "again.jpg", quality=70)
    assert report_of(adapt(folder, tiny_model), "keys").notes[:2] == (
        "2 photos: add 3 more from other sides",
        "2 photos are nearly the same shot (about 1 view); move around it",
    )


def test_what_is_wrong_with_photos_is_counted_in_one_order(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    Image.new("RGB", (80, 80)).save(folder / "mug" / "A.jpg")
    with Image.open(folder / "mug" / "IMG_1.jpg") as image:
        soft = image.resize((400, 300)).filter(ImageFilter.GaussianBlur(12))
    soft.save(folder / "mug" / "B.jpg")
    told = report_of(adapt(folder, tiny_model), "mug").notes
    assert "1 blurred, 1 dark, 3 very small" in told


def test_greys_have_the_same_contrast_whatever_the_light_and_none_where_there_is_none() -> None:
    pixels = np.random.default_rng(0).random((3, 37, 37)).astype(np.float32)
    greys = same_shot.greys_of(pixels)
    assert abs(greys.mean()) < 0.1 and greys.std() == pytest.approx(32, abs=0.5)
    np.testing.assert_allclose(same_shot.greys_of(0.1 * pixels - 5), greys, atol=1)
    pixels[:, :2, :2] = 99  # one of 16 x 16 cells
    assert (same_shot.greys_of(pixels).argmax(), same_shot.greys_of(pixels).max()) == (0, 127)
    assert not same_shot.greys_of(np.ones((3, 16, 16), np.float32)).any()


def test_views_link_through_others_but_never_across_objects() -> None:
    rng = np.random.default_rng(0)
    start, end = rng.standard_normal((2, 256))
    steps = [np.cos(a) * start + np.sin(a) * end for a in (0.0, 0.2, 0.4, 1.5)]
    greys = np.array([np.rint(np.clip(32 * step, -127, 127)) for step in steps] * 2, np.int8)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert same_shot.views(greys, labels).tolist() == [0, 0, 0, 3, 4, 4, 4, 7]
    chain = [np.cos(a) * start + np.sin(a) * end for a in (0.8, 0.0, 0.2, 1.5, 0.6, 0.4)]
    greys = np.array([np.rint(np.clip(32 * step, -127, 127)) for step in chain], np.int8)
    assert same_shot.views(greys, np.zeros(6, np.int64)).tolist() == [0, 0, 0, 3, 0, 0]


MORE = "2 more such pairs: see litecli report"


@pytest.mark.parametrize(("copies", "more"), [(5, [MORE]), (3, [])])
def test_many_copies_across_objects_are_counted(
    tiny_model: Model, write_objects: Callable[..., Path], copies: int, more: list[str]
) -> None:
    folder = write_objects({"keys": 5, "mug": 2})
    for number in range(copies):
        with Image.open(folder / "keys" / f"IMG_{number}.jpg") as image:
            image.save(folder / "mug" / f"copy_{number}.jpg", quality=70)
    notes = [
        note for note in adapt(folder, tiny_model).notes if "same photo" in note or "such" in note
    ]
    assert notes[0].startswith("keys/IMG_0.jpg and mug/copy_0.jpg look like the same photo")
    assert len(notes[:3]) == 3 and notes[3:] == more
