"""adapt, from photos to a profile: what is learned, what is kept, and what is never touched."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from litecli import library
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model
from litecli.networks.passes import Engine
from litecli.personal import predictions, support
from litecli.personal.changes import Changes

from .small_profiles import FOUR, adapt, file_bytes, report_of


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


def test_a_photo_of_another_object_now_has_come_and_gone(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    first = adapt(folder, tiny_model).profile
    (folder / "keys" / "IMG_0.jpg").rename(folder / "mug" / "moved.jpg")
    learned = adapt(folder, tiny_model, previous=first)
    assert learned.embedded == 0
    assert learned.changes == Changes(("mug/moved.jpg",), ("keys/IMG_0.jpg",), (), (), moved=1)


def test_a_profile_remembers_whole_paths(
    tiny_model: Model,
    write_objects: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_objects({"keys": 2, "mug": 2})
    monkeypatch.chdir(tmp_path)
    model = library.open_model(tiny_model.folder.relative_to(tmp_path))
    profile = adapt(folder.relative_to(tmp_path), model).profile
    assert (profile.folder, profile.model_folder) == tuple(
        path.resolve().as_posix() for path in (folder, tiny_model.folder)
    )


def test_photos_left_out_are_not_counted_as_known(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 4, "mug": 4})
    learned = adapt(folder, tiny_model)
    for number in range(2):  # in two objects now, so in none
        photo = (folder / "keys" / f"IMG_{number}.jpg").read_bytes()
        (folder / "mug" / f"stray_{number}.jpg").write_bytes(photo)
    for _ in range(2):
        learned = adapt(folder, tiny_model, previous=learned.profile)
        assert len(learned.profile.photo_paths) == learned.reused == 6 and learned.embedded == 0


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
    def damaged() -> NoReturn:
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


def test_a_profile_that_does_not_fit_its_model_lends_nothing(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 2, "mug": 2})
    first = adapt(folder, tiny_model).profile
    narrow = replace(first, embeddings=first.embeddings[:, :5])
    learned = adapt(folder, tiny_model, previous=narrow)
    assert learned.embedded == 4 and file_bytes(learned.profile) == file_bytes(first)


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


def test_torch_is_never_imported(
    tiny_model: Model, write_objects: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_objects({"keys": 2, "mug": 2})
    script = f"""
import sys
from pathlib import Path
from typing import NoReturn
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
