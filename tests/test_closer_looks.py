"""A model may look more than once: in every command alike, its features are their mean."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from litecli import storage
from litecli.config import ModelConfig, Preprocess
from litecli.evaluation import evaluation
from litecli.heads.confidence import fit_temperature
from litecli.heads.head import Head
from litecli.heads.heads import HEADS
from litecli.heads.labelled import unit_rows
from litecli.library.model_files import Model, open_model
from litecli.library.profile import to_tensors
from litecli.networks.encoder import Encoder
from litecli.networks.model_folder import fetch
from litecli.networks.strangers import stranger_inputs, strangers_of
from litecli.personal import predictions
from litecli.personal.personalize import adapt
from litecli.personal.selfcheck import check_support, turns
from litecli.photos import images
from litecli.tasks.datasets import read_dataset

TWICE = Preprocess(image_size=32, closer_looks=(0.5,))


@pytest.fixture
def looks_twice(tiny_model: Model) -> Model:
    """`tiny_model` with a closer look at half of the photo."""
    weights = tiny_model.folder / "model.safetensors"
    tensors, _ = storage.read_tensors(weights)
    seen = replace(tiny_model.config.preprocess, closer_looks=(0.5,))
    config = replace(tiny_model.config, preprocess=seen)
    storage.write_tensors(weights, tensors, {"litecli": storage.to_json(config.to_dict())})
    return open_model(tiny_model.folder)


def looks_once(model: Model) -> Model:
    """The same model without its closer looks."""
    seen = replace(model.config.preprocess, closer_looks=())
    return replace(model, config=replace(model.config, preprocess=seen))


def test_every_other_look_is_mirrored() -> None:
    picture = np.zeros((128, 160, 3), np.uint8)
    picture[32:96, 48:80] = (255, 0, 0)  # the left of the middle half
    picture[32:96, 80:112] = (0, 0, 255)
    first, second = images.to_looks(images.from_pixels(picture), TWICE)
    assert first.shape == second.shape == (32, 32, 3)
    np.testing.assert_array_equal(first, images.to_square(Image.fromarray(picture), TWICE))
    inner = second[2:-2]
    assert (inner[:, 2:14] == (0, 0, 255)).all() and (inner[:, 18:-2] == (255, 0, 0)).all()
    three = images.to_looks(Image.fromarray(picture), replace(TWICE, closer_looks=(0.5, 0.5)))
    np.testing.assert_array_equal(three, np.stack([first, second, second[:, ::-1]]))
    assert len(images.to_looks(Image.fromarray(picture), replace(TWICE, closer_looks=()))) == 1


def test_every_command_takes_the_mean_of_the_looks(
    looks_twice: Model, write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    profile = adapt(folder, looks_twice, name="mine").profile
    encoder, preprocess = Encoder(looks_twice.folder), looks_twice.config.preprocess
    path = folder / profile.photo_paths[0]
    once, closer = images.load_input(path, preprocess)[0]
    both = encoder.encode(np.stack([once, closer]))
    np.testing.assert_allclose(profile.embeddings[0], both.mean(axis=0), rtol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 0.01 * np.abs(both).max()

    dataset = read_dataset([folder])
    crops, _ = evaluation.encode_dataset(dataset, encoder, looks_twice, None)
    order = [dataset.paths.index(folder / name) for name in profile.photo_paths]
    assert profile.crops is not None and profile.crops.dtype == np.float16
    np.testing.assert_array_equal(unit_rows(crops[order]).astype(np.float16), profile.crops)
    np.testing.assert_array_equal(crops[order].mean(axis=1), profile.embeddings)

    [own] = predictions.classify([path], profile, looks_twice)
    assert own.nearest == profile.photo_paths[0]
    [seen] = predictions.classify([("x", photo("keys", 70))], profile, looks_twice)
    [other] = predictions.classify([("x", photo("keys", 70))], profile, looks_once(looks_twice))
    assert seen.novelty != other.novelty


def test_known_photos_are_learned_again_with_their_crops(
    looks_twice: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    first = adapt(folder, looks_twice, name="mine", head="ridge")
    again = adapt(folder, looks_twice, name="mine", head="ridge", previous=first.profile)
    assert (first.embedded, again.embedded, again.reused) == (6, 0, 6)
    assert to_tensors(again.profile)[1] == to_tensors(first.profile)[1]
    for name, tensor in to_tensors(first.profile)[0].items():
        np.testing.assert_array_equal(to_tensors(again.profile)[0][name], tensor)
    profile = first.profile
    task = (profile.embeddings, profile.photo_labels, 2)
    check = check_support(*task, profile.greys, HEADS["ridge"], None, profile.crops)
    expected = HEADS["ridge"].fit(*task, crops=profile.crops, **check.options)
    np.testing.assert_array_equal(profile.head_params["weights"], expected["weights"])
    assert profile.temperature == check.temperature
    together = turns(profile.photo_labels, check.groups)
    held_out = HEADS["ridge"].leave_one_out(
        *task, groups=together, crops=profile.crops, **check.options
    )
    assert check.temperature == fit_temperature(held_out, profile.photo_labels)
    # A profile from before there were crops: its photos are read anew.
    old = replace(first.profile, crops=None)
    anew = adapt(folder, looks_twice, name="mine", head="ridge", previous=old)
    assert (anew.embedded, anew.reused) == (6, 0)


def test_evaluate_learns_from_the_crops_as_adapt_does(
    looks_twice: Model, write_objects: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    plain = Head.examples

    def examples(self: Head, known: np.ndarray, crops: np.ndarray | None) -> object:
        given.append((known.shape, None if crops is None else crops.shape))
        return plain(self, known, crops)

    monkeypatch.setattr(Head, "examples", examples)
    monkeypatch.setattr(evaluation, "network_macs", lambda model: 1)  # the tiny one is no timm name
    folder = write_objects({"keys": 4, "mug": 4})
    size = looks_twice.config.num_features
    for model, crops in ((looks_twice, (6, 2, size)), (looks_once(looks_twice), None)):
        given.clear()
        evaluation.evaluate(folder, model, way=2, shots=3, query=1, tasks=2, head="ridge")
        assert set(given) == {((6, size), crops)}


def test_fetch_gives_a_model_closer_looks(tmp_path: Path) -> None:
    from litecli.networks import backbone

    torch.save(backbone.build("test_byobnet", "none", 32).network.state_dict(), tmp_path / "w.pth")
    weights = str(tmp_path / "w.pth")
    fetch("test_byobnet", tmp_path / "two", weights, image_size=32, closer_looks=(0.6, 0.4))
    model = open_model(tmp_path / "two")
    assert model.config.preprocess.look_shares == (model.config.preprocess.crop_pct, 0.6, 0.4)
    inputs, strangers = stranger_inputs(model.config.preprocess), strangers_of(model)
    assert strangers is not None and inputs.shape[1] == 3
    features = np.stack([Encoder(model.folder).features(looks) for looks in inputs])
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(strangers, features / lengths, atol=2e-3)


@pytest.mark.parametrize(
    ("shares", "film"),
    [((0.01,), ()), ((0.5, 1.5), ()), ((0.5,), ("norm",)), ((0.5,) * 8, ())],
)
def test_closer_looks_that_cannot_be_are_refused(shares: tuple, film: tuple[str, ...]) -> None:
    config = ModelConfig("m", "tiny", 4, Preprocess(closer_looks=shares), film=film)
    with pytest.raises(ValueError, match="closer_looks"):
        ModelConfig.from_dict(config.to_dict())
