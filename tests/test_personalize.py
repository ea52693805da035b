"""adapt and classify, from photos to answers, on a tiny model and drawn photos."""

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litecli import library, storage
from litecli.errors import ExitCode, LiteError
from litecli.heads import confidence
from litecli.library.model_files import Model
from litecli.library.profile import Profile, to_tensors
from litecli.networks.encoder import Encoder
from litecli.networks.passes import Engine
from litecli.personal import personalize, predictions, same_shot, selfcheck, support
from litecli.photos import images

FOUR = {"keys": 6, "mug": 6, "bowl": 6, "wallet": 6}


def file_bytes(profile: Profile) -> bytes:
    return storage.tensor_bytes(*to_tensors(profile))


def report_of(learned: personalize.Adaptation, label: str) -> personalize.ObjectReport:
    return next(report for report in learned.objects if report.label == label)


def adapt(folder: Path, model: Model, **options) -> personalize.Adaptation:
    return personalize.adapt(folder, model, name="mine", **options)


def test_learned_objects_are_named_in_new_photos(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    folder = write_objects(FOUR)
    learned = adapt(folder, tiny_model)
    assert [r.label for r in learned.objects] == sorted(FOUR)
    assert [(r.photos, r.check_total) for r in learned.objects] == [(6, 6)] * 4
    assert sum(r.check_correct or 0 for r in learned.objects) >= 22
    assert (learned.embedded, learned.reused, learned.skipped) == (24, 0, ())
    assert learned.forecast[1] == 10 and learned.forecast[0] >= 8
    assert set(learned.seconds) == {"read", "encode", "head", "total"}
    new = [(f"{name} {seed}", photo(name, 5000 + seed)) for name in FOUR for seed in range(5)]
    answers = list(predictions.classify(new, learned.profile, tiny_model))
    assert [answer.path for answer in answers] == [name for name, _ in new]
    right = [answer.label == answer.path.split()[0] for answer in answers]
    assert np.mean(right) >= 0.9
    for answer in answers:
        assert answer.error is None and answer.confidence == max(answer.scores.values())
        assert answer.scores[str(answer.label)] == answer.confidence
        assert sum(answer.scores.values()) == pytest.approx(1)
        assert answer.nearest in learned.profile.photo_paths


def test_an_own_photo_is_its_own_nearest(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects(FOUR)
    profile = adapt(folder, tiny_model).profile
    paths = [folder / path for path in profile.photo_paths]
    answers = list(predictions.classify(paths, profile, tiny_model))
    assert [folder / str(answer.nearest) for answer in answers] == paths


def test_an_answer_does_not_depend_on_the_other_photos(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    profile = adapt(write_objects(FOUR), tiny_model).profile
    new = [(str(seed), photo(name, 700 + seed)) for seed, name in enumerate(FOUR)]
    together = list(predictions.classify(new, profile, tiny_model))
    alone = [next(predictions.classify([one], profile, tiny_model)) for one in new]
    backwards = list(predictions.classify(new[::-1], profile, tiny_model))[::-1]
    assert together == alone == backwards


def test_the_first_photo_does_not_wait_for_the_novelty(
    tiny_model: Model, write_objects: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1,500 photos it takes half a second to fit, in which a photo can be read."""
    folder = write_objects({"keys": 3, "mug": 3})
    profile, read = adapt(folder, tiny_model).profile, threading.Event()

    def fit_novelty(*known: np.ndarray, real=confidence.fit_novelty) -> dict[str, np.ndarray]:
        assert read.wait(10)
        return real(*known)

    def load_input(*photo: Any, real=images.load_input) -> Any:
        read.set()
        return real(*photo)

    expected = list(predictions.classify([folder / "keys/IMG_0.jpg"], profile, tiny_model))
    monkeypatch.setattr(confidence, "fit_novelty", fit_novelty)
    monkeypatch.setattr(images, "load_input", load_input)
    answers = list(predictions.classify([folder / "keys/IMG_0.jpg"], profile, tiny_model))
    assert answers == expected


def test_answers_stream_while_photos_still_come(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    profile = adapt(write_objects({"keys": 2, "mug": 2}), tiny_model).profile
    asked = []

    def endless():
        while True:
            asked.append(None)
            yield "x", photo("keys", 1)

    answers = predictions.classify(endless(), profile, tiny_model)
    assert next(answers) == next(answers)
    assert len(asked) < 100
    answers.close()  # type: ignore[attr-defined]


def test_a_stranger_is_unknown_and_an_own_object_is_not(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    profile = adapt(write_objects({"keys": 8, "bowl": 8, "mug": 8}), tiny_model).profile
    own = [("own", photo(name, 900 + k)) for name in ("keys", "bowl", "mug") for k in range(6)]
    answers = list(predictions.classify(own, profile, tiny_model))
    assert np.mean([answer.known for answer in answers]) >= 0.7
    levels = [answer.novelty for answer in answers]
    strict = list(predictions.classify(own, profile, tiny_model, unknown_threshold=min(levels)))
    assert [answer.known for answer in strict].count(True) == levels.count(min(levels))
    never = list(predictions.classify(own, profile, tiny_model, unknown_threshold=-9.0))
    assert not any(answer.known for answer in never)
    forced = predictions.classify(
        own, profile, tiny_model, unknown_threshold=-9.0, allow_unknown=False
    )
    assert all(answer.known for answer in forced)
    plain = np.zeros((3, 32, 32), np.float32)
    plain[2] = 40  # a colour no camera sees: far from everything
    stranger = encode(tiny_model, plain)
    levels_of_stranger = selfcheck.confidence.novelty(
        stranger, profile.embeddings, profile.photo_labels
    )
    assert levels_of_stranger[0] > np.median(levels)


def encode(model: Model, pixels: np.ndarray) -> np.ndarray:
    return Encoder(model.folder).encode(pixels[None])


def test_a_second_adapt_embeds_only_what_is_new_and_equals_a_first_one(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    folder = write_objects(FOUR)
    first = adapt(folder, tiny_model).profile
    library.save_profile(first)
    saved = library.load_profile()
    unchanged = adapt(folder, tiny_model, previous=saved)
    assert (unchanged.embedded, unchanged.reused) == (0, 24)
    assert file_bytes(unchanged.profile) == file_bytes(first)
    (folder / "keys" / "IMG_0.jpg").unlink()
    (folder / "mug" / "IMG_1.jpg").rename(folder / "mug" / "renamed.jpg")
    (folder / "bowl" / "new.jpg").write_bytes(photo("bowl", 77))
    second = adapt(folder, tiny_model, previous=saved)
    scratch = adapt(folder, tiny_model)
    assert (second.embedded, second.reused) == (1, 23)
    assert file_bytes(second.profile) == file_bytes(scratch.profile)
    assert second.objects == scratch.objects
    gone = set(first.photo_hashes) - set(second.profile.photo_hashes)
    assert len(gone) == 1 and gone.isdisjoint(second.profile.thumbnails)


def test_reading_photos_in_pairs_or_singly_changes_nothing(
    tiny_model: Model, write_objects: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_objects({"keys": 4, "mug": 5})
    (folder / "keys" / "IMG_1.jpg").write_text("no photo")
    learned = []
    for many in (1, 100):
        monkeypatch.setattr(support, "MANY", many)
        learned.append(adapt(folder, tiny_model))
    assert file_bytes(learned[0].profile) == file_bytes(learned[1].profile)
    assert [one.skipped for one in learned] == [learned[0].skipped] * 2
    assert learned[0].embedded == 8


def test_a_graph_that_cannot_be_loaded_ends_adapt_with_its_error(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    def damaged() -> Encoder:
        raise LiteError("damaged", code=ExitCode.MISSING)

    with pytest.raises(LiteError, match="damaged"):
        adapt(write_objects({"keys": 2, "mug": 2}), tiny_model, engine=Engine(damaged))


def test_features_of_another_model_are_not_reused(
    tiny_model: Model,
    write_model: Callable[..., Path],
    write_objects: Callable[..., Path],
    tmp_path: Path,
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    previous = adapt(folder, tiny_model).profile
    other = library.open_model(write_model(tmp_path / "other", "other", seed=9))
    learned = adapt(folder, other, previous=previous)
    assert (learned.embedded, learned.reused) == (6, 0)
    with pytest.raises(LiteError, match="was learned on tiny, not other") as caught:
        predictions.classify([], previous, other)
    assert caught.value.code == ExitCode.MISSING


def test_notes_of_photos_survive_the_second_run(
    tiny_model: Model, write_objects: Callable[..., Path], tmp_path: Path
) -> None:
    from PIL import Image

    folder = write_objects({"keys": 3, "mug": 3})
    for shade in (0, 3):
        Image.new("RGB", (80, 80), (shade, 0, 0)).save(folder / "mug" / f"dark_{shade}.png")
    first = adapt(folder, tiny_model)
    assert any("2 dark" in note for note in report_of(first, "mug").notes)
    assert adapt(folder, tiny_model, previous=first.profile).objects == first.objects


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
    (folder / "keys" / "IMG_1 (1).jpg").write_bytes((folder / "keys" / "IMG_1.jpg").read_bytes())
    learned = adapt(folder, tiny_model)
    assert learned.embedded == 8
    assert len(learned.profile.photo_paths) == 8
    [skip] = learned.skipped
    assert skip.reason.startswith("same photo as keys/IMG_1")
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


def test_one_object_is_known_or_unknown(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    learned = adapt(write_objects({"keys": 6}), tiny_model)
    assert 'only one object: answers will be "keys" or "unknown"' in learned.notes
    assert learned.objects[0].check_total == 6 and learned.false_accepts == {}
    [answer] = predictions.classify([("x", photo("keys", 50))], learned.profile, tiny_model)
    assert (answer.label, answer.scores) == ("keys", {"keys": 1.0})
    far = predictions.classify(
        [("x", photo("keys", 50))], learned.profile, tiny_model, unknown_threshold=-9.0
    )
    assert not next(far).known
    with pytest.raises(LiteError, match="only one object") as caught:
        predictions.classify([], learned.profile, tiny_model, allow_unknown=False)
    assert caught.value.code == ExitCode.USAGE


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
    from PIL import Image

    folder = write_objects({"keys": 5, "mug": 5})
    with Image.open(folder / "keys" / "IMG_2.jpg") as image:
        for quality in (70, 80, 90):
            image.save(folder / "keys" / f"IMG_2_{quality}.jpg", quality=quality)
    learned = adapt(folder, tiny_model)
    note = "4 photos are nearly the same shot (about 1 view); move around it"
    assert note in report_of(learned, "keys").notes
    groups = same_shot.views(learned.profile.looks, learned.profile.photo_labels)
    assert sorted(np.bincount(groups)[np.unique(groups)]) == [1] * 9 + [4]


def test_views_link_through_others_but_never_across_objects() -> None:
    rng = np.random.default_rng(0)
    start, end = rng.standard_normal((2, 256))
    steps = [np.cos(a) * start + np.sin(a) * end for a in (0.0, 0.2, 0.4, 1.5)]
    looks = np.array([np.rint(np.clip(32 * step, -127, 127)) for step in steps] * 2, np.int8)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert same_shot.views(looks, labels).tolist() == [0, 0, 0, 3, 4, 4, 4, 7]


def test_many_copies_across_objects_are_counted(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    from PIL import Image

    folder = write_objects({"keys": 5, "mug": 2})
    for number in range(5):
        with Image.open(folder / "keys" / f"IMG_{number}.jpg") as image:
            image.save(folder / "mug" / f"copy_{number}.jpg", quality=70)
    notes = [
        note for note in adapt(folder, tiny_model).notes if "same photo" in note or "such" in note
    ]
    assert notes[0].startswith("keys/IMG_0.jpg and mug/copy_0.jpg look like the same photo")
    assert len(notes) == 4 and notes[-1] == "2 more such pairs: see litecli report"


def test_head_and_thumbnails_follow_the_arguments(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    learned = adapt(folder, tiny_model, head="euclidean", thumbnails=False)
    assert learned.profile.head == "euclidean" and learned.profile.thumbnails == {}
    pictured = adapt(folder, tiny_model, previous=learned.profile)  # nothing to take them from
    assert pictured.embedded == 6
    assert pictured.profile.thumbnails.keys() == set(pictured.profile.photo_hashes)
    assert all(jpeg[:2] == b"\xff\xd8" for jpeg in pictured.profile.thumbnails.values())
    assert adapt(folder, tiny_model, previous=pictured.profile, thumbnails=False).reused == 6


def test_progress_counts_every_photo_once(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    seen: list[tuple[int, int]] = []
    folder = write_objects({"keys": 3, "mug": 2})
    adapt(folder, tiny_model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


def test_a_bad_photo_is_an_answer_with_its_error(
    tiny_model: Model, write_objects: Callable[..., Path], tmp_path: Path
) -> None:
    profile = adapt(write_objects({"keys": 3, "mug": 3}), tiny_model).profile
    bad = tmp_path / "page.jpg"
    bad.write_text("<html></html>")
    good = tmp_path / "my_objects" / "keys" / "IMG_0.jpg"
    answers = list(predictions.classify([good, bad, tmp_path / "no.jpg"], profile, tiny_model))
    assert [answer.error is None for answer in answers] == [True, False, False]
    assert answers[1].path == str(bad) and "web page" in str(answers[1].error)
    assert (answers[2].label, answers[2].known, answers[2].scores) == (None, False, {})


def test_the_photo_folder_is_not_written_to(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    library.save_profile(adapt(folder, tiny_model).profile)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_profile_keeps_no_number_that_json_cannot(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    profile = adapt(write_objects({"keys": 1, "mug": 3}), tiny_model).profile
    json.dumps(profile.check, allow_nan=False)
    loaded = library.read_profile(library.save_profile(profile), "mine")
    assert loaded.check == profile.check
    assert dataclasses.replace(loaded, check={}) is not None


def test_torch_is_never_imported(
    tiny_model: Model, write_objects: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_objects({"keys": 2, "mug": 2})
    script = f"""
import sys
from pathlib import Path
from litecli import library
from litecli.personal import personalize, predictions
model = library.open_model(Path({str(tiny_model.folder)!r}))
learned = personalize.adapt(Path({str(folder)!r}), model, name="mine")
library.save_profile(learned.profile)
photos = sorted(Path({str(folder)!r}).rglob("*.jpg"))
answers = list(predictions.classify(photos, library.load_profile(), model))
assert len(answers) == 4 and not any(answer.error for answer in answers)
heavy = {{"torch", "timm", "onnx", "typer", "rich", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
