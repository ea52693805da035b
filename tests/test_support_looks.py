"""Photos to learn from may be looked at more often: only heads that learn from looks see that."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from litecli.config import MOST_SUPPORT_LOOKS, ModelConfig, Preprocess
from litecli.evaluation import evaluation
from litecli.heads import labelled
from litecli.heads.head import Head
from litecli.heads.heads import HEADS
from litecli.heads.labelled import unit_rows
from litecli.library import find_model
from litecli.library.model_files import Model
from litecli.library.profile import to_tensors
from litecli.networks.encoder import Encoder
from litecli.personal import predictions
from litecli.personal.personalize import Adaptation, adapt
from litecli.personal.support import learned_looks
from litecli.photos import images
from litecli.photos.support_looks import to_support_looks
from litecli.tasks.datasets import read_dataset

TWICE = Preprocess(image_size=32, closer_looks=(0.5,))


def with_looks(model: Model, support: int, closer: tuple[float, ...] = (0.5,)) -> Model:
    """The same network, that looks more often."""
    seen = replace(model.config.preprocess, closer_looks=closer, support_looks=support)
    return replace(model, config=replace(model.config, preprocess=seen))


def same_profile(one: Adaptation, other: Adaptation) -> bool:
    """Whether two profiles are alike, byte for byte."""
    (tensors, header), (others, other_header) = to_tensors(one.profile), to_tensors(other.profile)
    alike = header == other_header and tensors.keys() == others.keys()
    return alike and all(np.array_equal(tensors[name], others[name]) for name in tensors)


def test_they_follow_the_looks_of_every_photo(photo: Callable[..., bytes]) -> None:
    data = photo("keys", 3)
    plain, _ = images.load_looks(data, TWICE)
    more, loaded = images.load_looks(data, TWICE, 3)
    assert plain.shape == (2, 32, 32, 3) and more.shape == (5, 32, 32, 3)
    np.testing.assert_array_equal(more[:2], plain)
    np.testing.assert_array_equal(more[2:], to_support_looks(loaded.image, 3, 32))
    assert images.load_input(data, replace(TWICE, support_looks=3))[0].shape == (2, 3, 32, 32)
    none = to_support_looks(loaded.image, 0, 32)
    assert none.shape == (0, 32, 32, 3) and none.dtype == np.uint8


@pytest.mark.parametrize("closer", [(0.5,), ()])
def test_adapt_learns_from_them_and_the_features_stay(
    tiny_model: Model, write_objects: Callable[..., Path], closer: tuple[float, ...]
) -> None:
    folder = write_objects({"keys": 3, "mug": 4})
    model, plain_model = with_looks(tiny_model, 3, closer), with_looks(tiny_model, 0, closer)
    learned = adapt(folder, model, name="mine", head="ridge").profile
    plain = adapt(folder, plain_model, name="mine", head="ridge").profile
    np.testing.assert_array_equal(learned.embeddings, plain.embeddings)
    own = 1 + len(closer)
    assert learned.crops is not None and learned.crops.shape[1] == own + 3
    if closer:
        np.testing.assert_array_equal(learned.crops[:, :own], plain.crops)
    encoder = Encoder(tiny_model.folder)
    path = folder / learned.photo_paths[0]
    looks, _ = images.load_looks(path, model.config.preprocess, 3)
    features = encoder.encode(images.to_input(looks, model.config.preprocess))
    np.testing.assert_allclose(learned.crops[0], unit_rows(features), atol=1e-3)
    task = (learned.embeddings, learned.photo_labels, 2)
    expected = HEADS["ridge"].fit(*task, crops=learned.crops)
    np.testing.assert_array_equal(learned.head_params["weights"], expected["weights"])
    assert np.abs(expected["weights"] - plain.head_params["weights"]).max() > 1e-3
    [answer] = predictions.classify([path], learned, model)
    assert answer.nearest == learned.photo_paths[0]  # the photo is looked at as ever


def test_many_photos_are_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "MOST_EXAMPLES", 60)
    seen = replace(TWICE, support_looks=3)
    looks = [learned_looks(seen, photos) for photos in (0, 1, 10, 12, 15, 20, 21, 100)]
    assert looks == [5, 5, 5, 4, 3, 2, 2, 2]  # never less often than a new photo
    assert [learned_looks(Preprocess(), photos) for photos in (1, 1000)] == [1, 1]


def test_photos_that_come_and_go_change_how_often_the_others_are_looked_at(
    tiny_model: Model,
    write_objects: Callable[..., Path],
    photo: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labelled, "MOST_EXAMPLES", 30)
    model = with_looks(tiny_model, 3)
    folder = write_objects({"keys": 2, "mug": 3})

    def learn(previous: Adaptation | None = None) -> Adaptation:
        known = previous.profile if previous else None
        return adapt(folder, model, name="mine", head="ridge", previous=known)

    few = learn()
    assert few.profile.crops is not None and few.profile.crops.shape[1] == 5
    more = [folder / "keys" / f"new_{n}.jpg" for n in range(3)]
    for n, path in enumerate(more):
        path.write_bytes(photo("keys", 500 + n))
    many = learn(few)
    assert many.profile.crops is not None and many.profile.crops.shape[1] == 2
    assert (many.embedded, many.reused) == (3, 5) and same_profile(many, learn())
    for path in more:
        path.unlink()
    assert not any("more often" in note for note in (*few.notes, *many.notes))
    few_again = learn(many)  # some of their looks were never taken: all are read anew
    assert (few_again.embedded, few_again.reused) == (5, 0) and same_profile(few_again, few)
    assert "each is looked at more often: all were read anew" in " ".join(few_again.notes)
    again = learn(few)
    assert (again.embedded, again.reused) == (0, 5) and same_profile(again, few)
    assert not any("more often" in note for note in again.notes)


@pytest.mark.parametrize(
    "head, looks", [("ridge", 5), ("auto", 5), ("cosine", 2), ("mahalanobis", 2)]
)
def test_evaluate_looks_as_adapt_does_where_the_head_learns_from_looks(
    tiny_model: Model,
    write_objects: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    head: str,
    looks: int,
) -> None:
    given, plain = [], Head.examples

    def examples(self: Head, known: np.ndarray, crops: np.ndarray | None) -> object:
        given.append((known.shape, None if crops is None else crops.shape))
        return plain(self, known, crops)

    monkeypatch.setattr(Head, "examples", examples)
    monkeypatch.setattr(evaluation, "network_macs", lambda model: 10)
    folder = write_objects({"keys": 4, "mug": 4})
    model = with_looks(tiny_model, 3)
    result = evaluation.evaluate(folder, model, way=2, shots=3, query=1, tasks=2, head=head)
    size = model.config.num_features
    assert ((6, size), (6, looks, size)) in given
    assert {crops[1] for _, crops in given if crops} == {looks}
    assert result.adapt_macs == 6 * 10 * looks
    assert (result.looks, result.model_looks) == (2, 2)


def test_evaluate_asks_about_photos_as_classify_does(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    dataset = read_dataset([write_objects({"keys": 2, "mug": 2})])
    encoder, model = Encoder(tiny_model.folder), with_looks(tiny_model, 3)
    plain, _ = evaluation.encode_dataset(dataset, encoder, model, None)
    more, _ = evaluation.encode_dataset(dataset, encoder, model, None, support_looks=3)
    assert plain.shape[1] == 2 and more.shape[1] == 5
    np.testing.assert_allclose(more[:, :2], plain, atol=1e-6)
    method = evaluation.choose_method(model, encoder, "ridge")
    solver = method.solver(more)
    np.testing.assert_array_equal(solver.features, more[:, :2].mean(axis=1))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "looks, film", [(-1, ()), (MOST_SUPPORT_LOOKS + 1, ()), (True, ()), (2.0, ()), (1, ("norm",))]
)
def test_looks_that_cannot_be_are_refused(looks: int, film: tuple[str, ...]) -> None:
    config = ModelConfig("m", "tiny", 4, Preprocess(support_looks=looks), film=film)
    with pytest.raises(ValueError, match="support_looks"):
        ModelConfig.from_dict(config.to_dict())


def test_a_model_of_before_there_were_any_has_none() -> None:
    written = ModelConfig("m", "tiny", 4).to_dict()
    del written["preprocess"]["support_looks"]
    assert ModelConfig.from_dict(written).preprocess.support_looks == 0


def test_fetch_gives_a_model_support_looks(run: Callable) -> None:
    asked = ["models", "fetch", "test_byobnet", "--weights", "none", "--image-size", "32"]
    code, _, _ = run(*asked, "--name", "mine", "--support-looks", "4")
    assert code == 0
    model = find_model("mine")
    assert model.config.preprocess.support_looks == 4
    assert "4 more looks" in (model.folder / "README.md").read_text(encoding="utf-8")
    code, _, told = run(*asked, "--name", "other", "--support-looks", "99")
    assert code == 2 and "--support-looks" in told
