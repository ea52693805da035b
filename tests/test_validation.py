"""Validation adapts as the learner does, on the same tasks each time, and stays affordable."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from litecli.config import Preprocess, TrainConfig
from litecli.networks.backbone import Backbone
from litecli.networks.model import FewShotModel
from litecli.pictures import augment
from litecli.pictures.training_data import TrainingData
from litecli.tasks.episodes import Source
from litecli.training import validation
from litecli.training.events import Validating
from litecli.training.validation import COSTLY_TASKS

from .small_runs import events_of

CLASSES, PHOTOS, OTHERS = 6, 8, 3  # a class has three photos more that are not for validation
CONFIG = TrainConfig(val_tasks=60, chunk=16, inner_steps=3, inner_lr=0.5)


def told(*arguments: Any) -> tuple[list[Validating], int, list[float]]:
    """What `validation.validate` says while it runs, and what it returns."""
    run, said = validation.validate(*arguments), []
    while True:
        try:
            said.append(next(run))
        except StopIteration as end:
            return said, *end.value


def validate(*arguments: Any) -> tuple[int, list[float]]:
    return told(*arguments)[1:]


class CountedNetwork(nn.Sequential):
    """A tiny network that counts the images it has seen."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return super().forward(images).flatten(1)


def make_model(head: str = "cosine", film: bool = False) -> tuple[FewShotModel, CountedNetwork]:
    torch.manual_seed(0)
    network = CountedNetwork()
    described = Backbone(network, "tiny", {}, 12, Preprocess(image_size=8), "unknown", "")
    return FewShotModel(described, head, film), network


def make_data(sources: int = 1) -> TrainingData:
    """Squares of a colour for each class; photo n is of class n // (PHOTOS + OTHERS)."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (CLASSES, 3))
    squares = [
        np.clip(colours[c] + rng.integers(-9, 10, (9, 9, 3)), 0, 255).astype(np.uint8)
        for c in range(CLASSES)
        for _ in range(OTHERS + PHOTOS)
    ]
    firsts = [c * (OTHERS + PHOTOS) + OTHERS for c in range(CLASSES)]
    pools = tuple(tuple(range(first, first + PHOTOS)) for first in firsts)
    source = Source("made", tuple("abcdef"), pools)
    store: Any = squares  # read by number, as the store on disk is
    return TrainingData(store, "", (source,), (source,) * sources, ())


@pytest.mark.parametrize(
    ("learner", "head", "film"),
    [
        ("protonets", "cosine", False),
        ("ridge", "ridge", False),
        ("simple-cnaps", "mahalanobis", True),
        ("cnaps", "generated", True),
        ("cnaps", "generated", False),
        ("maml", "cosine", False),
    ],
)
def test_every_learner_names_easy_classes(learner: str, head: str, film: bool) -> None:
    model, _ = make_model(head, film)
    config = replace(CONFIG, learner=learner, val_tasks=3, inner_steps=60, inner_lr=0.3)
    way, accuracies = validate(model, make_data(), config, False)
    assert way == CLASSES
    assert np.mean(accuracies) > 0.8
    assert validate(model, make_data(), config, False)[1] == accuracies


@pytest.mark.parametrize("sources", [1, 3, 17])
def test_learners_that_share_no_features_get_fewer_tasks(sources: int) -> None:
    """All sources together; a small --val-tasks is kept."""
    data, costly = make_data(sources), replace(CONFIG, learner="simple-cnaps")
    film, plain = make_model(film=True)[0], make_model()[0]
    assert len(validate(plain, data, CONFIG, False)[1]) == 60
    assert len(validate(film, data, costly, False)[1]) == COSTLY_TASKS
    assert len(validate(plain, data, replace(CONFIG, learner="maml"), False)[1]) == COSTLY_TASKS
    assert len(validate(film, data, replace(costly, val_tasks=3), False)[1]) == 3


def test_long_validations_say_how_far_they_are() -> None:
    data, config = make_data(3), replace(CONFIG, val_tasks=5)
    film, plain = make_model(film=True)[0], make_model()[0]
    assert told(plain, data, config, False)[0] == []
    for model, learner in ((film, "simple-cnaps"), (plain, "maml")):
        said, _, accuracies = told(model, data, replace(config, learner=learner), False)
        assert said == [Validating(n, 5) for n in range(1, 6)] and len(accuracies) == 5


def test_without_film_each_photo_is_encoded_once() -> None:
    model, network = make_model()
    validate(model, make_data(), CONFIG, False)
    assert network.seen == CLASSES * PHOTOS
    model, network = make_model(film=True)
    validate(model, make_data(), replace(CONFIG, val_tasks=2), False)
    assert network.seen == 2 * CLASSES * PHOTOS  # 5 to learn from and 3 to name, of each class


def test_maml_takes_the_steps_it_trains_with() -> None:
    model, network = make_model()
    config = replace(CONFIG, learner="maml", val_tasks=1)
    seen = []
    for steps in (0, 1, 4):
        network.seen = 0
        validate(model, make_data(), replace(config, inner_steps=steps), False)
        seen.append(network.seen)
    support = CLASSES * validation.VAL_SHOTS
    assert np.diff(seen).tolist() == [support, 3 * support]


def test_photos_are_read_by_no_more_threads_than_asked_for(
    config: TrainConfig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    whole = augment.View.__init__

    def noted(self: augment.View, *arguments: Any, **named: Any) -> None:
        whole(self, *arguments, **named)
        asked.append(self.threads)

    monkeypatch.setattr(augment.View, "__init__", noted)
    events_of(replace(config, workers=3))
    assert asked and set(asked) == {3}
