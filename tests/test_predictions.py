"""classify, from photos to answers: the same in any company, unknown where they should be."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litecli.errors import ExitCode, LiteError
from litecli.heads import confidence
from litecli.library.model_files import Model
from litecli.networks.encoder import Encoder
from litecli.personal import predictions, selfcheck
from litecli.photos import images

from .small_profiles import FOUR, adapt


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

    def fit_novelty(*known: Any, real=confidence.fit_novelty, **more: Any) -> Any:
        assert read.wait(10)
        return real(*known, **more)

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


def test_a_threshold_of_zero_is_one(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    profile = adapt(write_objects({"keys": 3, "mug": 3}), tiny_model).profile
    lax = replace(profile, unknown_threshold=9.0)
    [answer] = predictions.classify([("x", photo("bowl", 1))], lax, tiny_model, unknown_threshold=0)
    assert answer.novelty > 0 and not answer.known


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
