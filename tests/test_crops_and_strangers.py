"""What is unknown is learned from each look at a photo, as the ridge head learns what is known."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from litecli.heads import confidence
from litecli.heads.confidence import held_out_novelty, novelty, unknown_threshold
from litecli.library.model_files import Model
from litecli.networks.encoder import Encoder
from litecli.networks.strangers import strangers_of
from litecli.personal import predictions, same_shot, selfcheck
from litecli.personal.personalize import adapt
from litecli.personal.report import report
from litecli.photos import images

from .small_features import photos


def test_what_is_unknown_is_learned_from_each_look_in_every_command(
    tiny_model: Model, write_objects: Callable[..., Path], photo: Callable[..., bytes]
) -> None:
    seen = replace(tiny_model.config.preprocess, closer_looks=(0.5,), support_looks=3)
    model = replace(tiny_model, config=replace(tiny_model.config, preprocess=seen))
    folder = write_objects({"keys": 3, "mug": 4})
    profile = adapt(folder, model, name="mine", head="ridge").profile
    task = (profile.embeddings, profile.photo_labels)
    groups = same_shot.views(profile.greys, profile.photo_labels)
    others = strangers_of(model)
    by_looks, by_photos = (
        unknown_threshold(*task, groups, others, crops=crops) for crops in (profile.crops, None)
    )
    assert profile.unknown_threshold == by_looks != by_photos
    known = selfcheck.false_accepts(*task, by_looks, others, crops=profile.crops)
    assert profile.check["false_accepts"] == known
    data = photo("keys", 70)
    [answer] = predictions.classify([("x", data)], profile, model)
    inputs, _ = images.load_input(data, model.config.preprocess)
    feature = Encoder(model.folder).features(inputs)[None]
    expected = novelty(feature, *task, crops=profile.crops)[0]
    assert answer.novelty == pytest.approx(expected, abs=1e-6)
    own, _ = held_out_novelty(*task, groups, crops=profile.crops)
    np.testing.assert_array_equal(report(profile).unknown.own, own)


@pytest.mark.parametrize("most, learned", [(15, 0), (16, 1), (31, 2), (500, 3)])
def test_many_photos_need_fewer_crops(
    monkeypatch: pytest.MonkeyPatch, most: int, learned: int
) -> None:
    monkeypatch.setattr(confidence, "MOST_NOVELTY_EXAMPLES", most)
    features, labels = photos([4, 4])
    crops = features[:, None] + np.random.default_rng(1).normal(size=(8, 3, 24))
    fewer = crops[:, :learned] if learned else None
    for use in (partial(novelty, features), held_out_novelty):
        found, expected = (use(features, labels, crops=seen) for seen in (crops, fewer))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("counts", [[1] * 4, [4] * 4, [6]])
def test_what_is_said_of_strangers_is_learned_from_the_crops_too(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    groups, differ = np.arange(len(labels)), set()
    for seed in range(6):
        features, _ = photos(counts, seed=seed)
        strangers, _ = photos([1] * 40, seed=99)
        rng = np.random.default_rng(seed)
        crops = (features[:, None] + rng.normal(size=(len(labels), 3, 24))).astype(np.float32)
        task = (features, labels)
        greys = rng.integers(-64, 64, (len(labels), 256)).astype(np.int8)  # no two are one view
        check = selfcheck.check_support(*task, len(counts), greys, None, strangers, crops)
        threshold = confidence.unknown_threshold(*task, groups, strangers, crops=crops)
        assert check.unknown_threshold == pytest.approx(threshold, abs=1e-6)
        rates = {}
        own, strange = confidence.held_out_novelty(*task, labels, crops=crops)
        if len(counts) > 1:
            taken = [np.mean(strange[labels == label] <= threshold) for label in range(4)]
            refused = (1 - np.mean(taken)) ** (1 + 1 / 12)
            rates["withheld_objects"] = round(1 - refused, 4)
        level = confidence.novelty(strangers, *task, crops=crops)
        rates["other_things"] = round(float(np.mean(level <= threshold)), 4)
        assert check.false_accepts == pytest.approx(rates)
        if max(counts) == 1:  # the strangers set the threshold
            limit = float(np.quantile(level, confidence.STRANGERS_KNOWN))
            assert threshold <= limit + 1e-9
            differ |= {"limit"} if threshold == pytest.approx(limit) else set()
        if len(counts) == 1:
            own, _ = confidence.held_out_novelty(*task, groups, crops=crops)
            np.testing.assert_array_equal(check.named, (own > threshold).astype(int))
            alone, _ = confidence.held_out_novelty(*task, groups)
            differ |= {"named"} if ((own > threshold) != (alone > threshold)).any() else set()
        plain = selfcheck.false_accepts(*task, threshold, strangers)
        differ |= {name for name in plain if plain[name] != check.false_accepts[name]}
    assert differ >= {"other_things"} | ({"limit"} if max(counts) == 1 else set())
    assert len(counts) == 1 or "withheld_objects" in differ
    assert len(counts) > 1 or "named" in differ
