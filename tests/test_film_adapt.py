"""adapt with FiLM: photos are read twice, and profiles carry the norm parameters."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from litecli import library
from litecli.config import TASK_GRAPH
from litecli.errors import ExitCode, LiteError
from litecli.heads.heads import HEADS
from litecli.library.model_files import Model, open_model
from litecli.networks import folding, passes
from litecli.networks.model_folder import load_model
from litecli.personal import predictions
from litecli.photos.images import load_input

from .small_models import PARTS, SIDE, cnaps, model, noise
from .small_profiles import adapt, file_bytes

__all__ = ("cnaps", "model")  # fixtures

TWO = {"keys": 4, "mug": 3}


def test_adapt_and_classify_are_the_torch_model(
    model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    profile = adapt(folder, model).profile
    network = load_model(model.folder, model.config)
    paths = [folder / path for path in profile.photo_paths]
    new = [photo(name, 80 + seed) for seed, name in enumerate(("keys", "mug", "bowl"))]

    def inputs(photos: list) -> torch.Tensor:
        arrays = [load_input(source, model.config.preprocess)[0][0] for source in photos]
        return torch.from_numpy(np.stack(arrays))

    with torch.no_grad():
        film = network.generate(network.embed(inputs(paths)))
        features = network.features(inputs(paths), film=film)
        fitted = network.fit(features, torch.from_numpy(profile.photo_labels))
        scores = network.scores(fitted, network.features(inputs(new), film=film))
    scale = float(features.abs().max())
    np.testing.assert_allclose(profile.embeddings, features.numpy(), atol=1e-4 * scale)
    assert profile.head == "generated" and profile.head_params["weights"].shape == (2, 257)
    np.testing.assert_allclose(profile.head_params["weights"], fitted["weights"], atol=1e-5)
    logits = scores / fitted["scale"] / profile.temperature
    answers = predictions.classify([(str(n), one) for n, one in enumerate(new)], profile, model)
    for answer, shares in zip(answers, logits.softmax(1).numpy(), strict=True):
        found = [answer.scores[label] for label in profile.labels]
        np.testing.assert_allclose(found, shares, atol=1e-3)


def test_another_head_can_be_asked_for(model: Model, write_objects: Callable[..., Path]) -> None:
    folder = write_objects(TWO)
    own, cosine = adapt(folder, model), adapt(folder, model, head="cosine")
    assert (own.profile.head, cosine.profile.head) == ("generated", "cosine")
    np.testing.assert_array_equal(own.profile.embeddings, cosine.profile.embeddings)
    assert adapt(folder, model, head="auto").profile.head in HEADS


def test_a_profile_keeps_its_film(model: Model, write_objects: Callable[..., Path]) -> None:
    folder = write_objects(TWO)
    profile = adapt(folder, model).profile
    assert profile.film.keys() == {f"backbone.{n}.{p}" for n in model.config.film for p in PARTS}
    loaded = library.read_profile(library.save_profile(profile), "mine")
    assert file_bytes(loaded) == file_bytes(profile)
    for name, value in profile.film.items():
        np.testing.assert_array_equal(loaded.film[name], value)
    of_another_model = replace(profile, model_fingerprint="0" * 64)
    again = adapt(folder, model, previous=of_another_model)
    assert not any("read anew" in note for note in again.notes)


def test_nothing_is_made_anew_while_the_photos_are_the_same(
    model: Model, write_objects: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_objects(TWO)
    first = adapt(folder, model)
    assert (first.embedded, first.reused) == (7, 0)
    (folder / "keys" / "page.jpg").write_text("<html></html>")  # no photo: changes nothing
    (folder / "keys" / "twice.jpg").write_bytes((folder / "keys" / "IMG_0.jpg").read_bytes())

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a graph was loaded")

    monkeypatch.setattr(passes.Network, "begin", refused)
    again = adapt(folder, model, previous=first.profile)
    assert (again.embedded, again.reused) == (0, 7)
    known = again.profile.check.pop("left_out"), first.profile.check.pop("left_out")
    assert [len(files) for files in known] == [2, 0]  # what is told of files that are no photos
    assert file_bytes(again.profile) == file_bytes(first.profile)
    for file in ("page.jpg", "twice.jpg"):
        (folder / "keys" / file).unlink()
    (folder / "mug" / "IMG_1.jpg").rename(folder / "mug" / "a.jpg")
    (folder / "keys" / "IMG_2.jpg").rename(folder / "mug" / "b.jpg")
    moved = adapt(folder, model, previous=first.profile)
    assert (moved.embedded, moved.reused) == (0, 7)
    monkeypatch.undo()
    assert file_bytes(moved.profile) == file_bytes(adapt(folder, model).profile)


@pytest.mark.parametrize("change", ["new", "gone", "in two objects"])
def test_every_photo_is_made_anew_when_one_comes_or_goes(
    model: Model,
    write_objects: Callable[..., Path],
    photo: Callable[[str, int], bytes],
    change: str,
) -> None:
    folder = write_objects(TWO)
    first = adapt(folder, model)
    assert not any("read anew" in note for note in first.notes)
    if change == "new":
        (folder / "mug" / "new.jpg").write_bytes(photo("mug", 9))
    elif change == "gone":
        (folder / "keys" / "IMG_0.jpg").unlink()
    else:
        shutil.copy(folder / "keys" / "IMG_0.jpg", folder / "mug" / "stray.jpg")
    second, scratch = adapt(folder, model, previous=first.profile), adapt(folder, model)
    photos = {"new": 8, "gone": 6, "in two objects": 6}[change]
    assert (second.embedded, second.reused) == (photos, 0)
    assert file_bytes(second.profile) == file_bytes(scratch.profile)
    assert any("read anew" in note for note in second.notes)
    assert any(np.any(second.profile.film[n] != v) for n, v in first.profile.film.items())


def test_a_photo_that_changes_meanwhile_is_an_error(
    model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    folder = write_objects(TWO)
    previous = adapt(folder, model).profile
    (folder / "mug" / "new.jpg").write_bytes(photo("mug", 9))

    def meddle(done: int, total: int) -> None:
        if done == total // 2:
            (folder / "keys" / "IMG_0.jpg").write_bytes(photo("keys", 8))

    with pytest.raises(LiteError, match="changed while it was read") as caught:
        adapt(folder, model, previous=previous, progress=meddle)
    assert caught.value.code == ExitCode.INPUT


def test_squares_that_are_too_many_for_memory_wait_on_disk(
    model: Model, write_objects: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_objects(TWO)
    expected = file_bytes(adapt(folder, model).profile)
    monkeypatch.setattr(folding, "SQUARES_IN_MEMORY", SIDE * SIDE * 3 + 1)  # the second one spills
    look = folding.FirstLook(model)
    for number in range(3):
        square = np.full((SIDE, SIDE, 3), 50 * number, np.uint8)
        look.add(str(number), square, noise(1)[0])
    assert look._squares._rolled  # type: ignore[attr-defined]
    look.close()
    assert file_bytes(adapt(folder, model).profile) == expected

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folding.tempfile.SpooledTemporaryFile, "write", full)
    with pytest.raises(LiteError, match="No room") as caught:
        adapt(folder, model)
    assert caught.value.code == ExitCode.MACHINE


def test_progress_goes_on_through_both_passes(
    model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects(TWO)
    (folder / "keys" / "page.jpg").write_text("<html></html>")
    seen: list[float] = []
    adapt(folder, model, progress=lambda done, total: seen.append(done / total))
    assert len(seen) == 15 and seen == sorted(seen) and seen[-1] == 1
    assert seen[7] == 0.5


def test_the_check_is_called_hopeful(
    model: Model, tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects(TWO)
    assert any("a little hopeful" in note for note in adapt(folder, model).notes)
    assert not any("a little hopeful" in note for note in adapt(folder, tiny_model).notes)


def test_a_profile_works_where_the_model_is_installed(
    model: Model,
    write_objects: Callable[..., Path],
    photo: Callable[[str, int], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_objects(TWO)
    profile = adapt(folder, library.add_model(model.folder)).profile
    mailed = library.save_profile(profile, file=tmp_path / "for_a_friend.safetensors")
    here = list(predictions.classify([("x", photo("keys", 70))], profile, model))
    monkeypatch.setenv("LITECLI_HOME", str(tmp_path / "friend"))
    shutil.rmtree(folder)
    library.add_model(model.folder)
    received = library.load_profile(str(mailed))
    there = predictions.classify([("x", photo("keys", 70))], received, library.model_of(received))
    assert list(there) == here


def test_a_model_without_its_set_encoder_is_refused(
    model: Model, tmp_path: Path, write_objects: Callable[..., Path]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model.folder, copy)
    graph = copy / TASK_GRAPH
    graph.write_bytes(graph.read_bytes()[:500])
    damaged = open_model(copy)
    assert damaged.fingerprint != model.fingerprint
    folder = write_objects(TWO)
    with pytest.raises(LiteError, match="cannot be loaded") as caught:
        adapt(folder, damaged)
    assert caught.value.code == ExitCode.MISSING
    graph.unlink()
    with pytest.raises(LiteError, match=r"not a model: it has no task\.onnx") as caught:
        open_model(copy)
    assert caught.value.code == ExitCode.MISSING


def test_torch_is_never_imported(model: Model, write_objects: Callable[..., Path]) -> None:
    folder = write_objects({"keys": 2, "mug": 2})
    script = f"""
import sys
from dataclasses import replace
from pathlib import Path
from litecli import library
from litecli.personal import personalize, predictions
model = library.open_model(Path({str(model.folder)!r}))
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
