"""The strangers that come with a model: made when it is written, used when photos are learned."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from litecli.cli.adapt_output import forecast_text
from litecli.config import Preprocess
from litecli.heads import confidence
from litecli.library.model_files import Model, open_model
from litecli.networks import backbone
from litecli.networks.encoder import Encoder
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import model_config, write_model
from litecli.networks.strangers import NUM_STRANGERS, stranger_inputs, stranger_tensor, strangers_of
from litecli.personal.personalize import adapt

OBJECTS = {"keys": 3, "mug": 3, "bowl": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FewShotModel(backbone.build("test_byobnet", "none", 32), "cosine")
    folder = tmp_path_factory.mktemp("models") / "small"
    write_model(network, model_config("small", network, "protonets", "ridge"), folder, {})
    return open_model(folder)


def test_they_are_the_networks_own_features_of_the_pictures(model: Model) -> None:
    strangers = strangers_of(model)
    assert strangers is not None and strangers.dtype == np.float16
    inputs = stranger_inputs(model.config.preprocess)[:, 0]
    assert len(inputs) == NUM_STRANGERS and len(np.unique(inputs, axis=0)) == NUM_STRANGERS
    features = Encoder(model.folder).encode(inputs)
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(strangers, features, atol=2e-3)


def test_pictures_depend_on_nothing_but_the_preprocessing() -> None:
    small = Preprocess(image_size=16)
    np.testing.assert_array_equal(stranger_inputs(small), stranger_inputs(small))
    darker = stranger_inputs(replace(small, mean=(0.6, 0.6, 0.6)))
    assert (darker < stranger_inputs(small)).all()


def test_very_long_features_still_fit() -> None:
    kept = stranger_tensor(np.full((2, 4), 1e6, dtype=np.float32))
    np.testing.assert_allclose(kept, 0.5)


def test_adapt_foretells_how_many_are_taken_for_an_object(
    model: Model, write_objects: Callable[..., Path]
) -> None:
    learned = adapt(write_objects(OBJECTS), model, name="mine")
    profile, strangers = learned.profile, strangers_of(model)
    assert strangers is not None
    levels = confidence.novelty(strangers, profile.embeddings, profile.photo_labels)
    share = float(np.mean(levels <= profile.unknown_threshold))
    assert learned.false_accepts["other_things"] == pytest.approx(share, abs=1e-4)
    assert json.loads(json.dumps(profile.check))["false_accepts"] == learned.false_accepts


def test_a_model_without_them_says_nothing_of_other_things(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    assert strangers_of(tiny_model) is None
    learned = adapt(write_objects(OBJECTS), tiny_model, name="mine")
    assert set(learned.false_accepts) == {"withheld_objects"}


def test_the_last_line_of_adapt_is_a_range_and_words(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    learned = adapt(write_objects(OBJECTS), tiny_model, name="mine")
    rates = {"withheld_objects": 0.45, "other_things": 0.01}
    learned = replace(learned, forecast=(8, 9), false_accepts=rates)
    assert forecast_text(learned) == (
        "On new photos of these, expect 8 to 9 of 10 right. "
        "Of other things, nearly all will be called unknown; "
        "of close look-alikes (as similar as your objects are to each other), about half."
    )
    alone = replace(learned, forecast=(9, 9), false_accepts={})
    assert forecast_text(alone) == "On new photos of these, expect 9 of 10 right."
    single = adapt(write_objects({"keys": 1, "mug": 1}, "single"), tiny_model, name="mine")
    assert forecast_text(single).startswith("There was nothing to check")
