"""Heads that learn from a photo's crops: as more photos would, held out together, asked by none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from litecli.heads import labelled, ridge
from litecli.heads.choice import choose_head
from litecli.heads.head import Head
from litecli.heads.heads import HEADS
from litecli.heads.labelled import held_out_batches, unit_rows
from litecli.heads.photo_counts import count_correction_strength
from litecli.heads.ridge import choose_lam, ridge_held_out, ridge_weights
from litecli.library import profile

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
GROUPS = np.array([0, 0, 1, 2, 3, 4, 5, 6, 6])
RIDGE = HEADS["ridge"]


def world(seed: int = 0, dim: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Features [9, D] of photos, and [9, 3, D] of their crops, whose mean they are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 1, dim))
    photos = centres[LABELS] + rng.normal(size=(9, 1, dim))
    crops = (photos + 0.7 * rng.normal(size=(9, 3, dim))).astype(np.float32)
    return crops.mean(axis=1), crops


def examples(features: np.ndarray, crops: np.ndarray) -> np.ndarray:
    """Photo, its three crops, next photo, ..."""
    rows = [row for n in range(len(features)) for row in (features[n], *crops[n])]
    return unit_rows(np.stack(rows))


def test_ridge_learns_from_crops_as_from_more_photos() -> None:
    features, crops = world()
    targets = np.eye(3, dtype=np.float32)[np.repeat(LABELS, 4)]
    expected = ridge_weights(examples(features, crops), targets, 0.2)
    found = RIDGE.fit(features, LABELS, 3, strength=0.0, lam=0.2, crops=crops)
    np.testing.assert_allclose(found["weights"], expected, atol=1e-5)
    assert found["weights"].dtype == features.dtype == np.float32
    plain = RIDGE.fit(features, LABELS, 3, strength=0.0, lam=0.2)
    assert np.abs(plain["weights"] - expected).max() > 0.01
    by_torch = RIDGE.fit(
        torch.from_numpy(features),
        torch.from_numpy(LABELS),
        3,
        strength=0.0,
        lam=0.2,
        crops=torch.from_numpy(crops),
    )
    np.testing.assert_allclose(by_torch["weights"], expected, atol=1e-4)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("dim, number", [(10, 3), (60, 3), (10, 1)])
def test_a_photo_is_held_out_with_its_crops(grouped: bool, dim: int, number: int) -> None:
    features, crops = (part.astype(np.float64) for part in world(1, dim))
    crops = crops[:, :number]
    groups = GROUPS if grouped else np.arange(9)
    closed = RIDGE.leave_one_out(
        features,
        LABELS,
        3,
        strength=0.7,
        lam=0.3,
        groups=GROUPS if grouped else None,
        crops=crops,
    )
    for photo in range(9):
        rest = groups != groups[photo]
        params = RIDGE.fit(
            features[rest],
            LABELS[rest],
            3,
            strength=0.7,
            lam=0.3 * rest.sum() / 9,
            crops=crops[rest],
        )
        np.testing.assert_allclose(closed[photo], RIDGE.score(params, features[[photo]])[0])


@pytest.mark.parametrize("seed", [1, 2])  # by crops as well, the first one's would be another
def test_the_penalty_is_chosen_by_photos_alone(seed: int) -> None:
    features, crops = world(seed)
    chosen = RIDGE.options(features, LABELS, 3, groups=GROUPS, crops=crops)["lam"]
    squares = {}
    for lam in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        scores = RIDGE.leave_one_out(
            features.astype(np.float64),
            LABELS,
            3,
            strength=0.0,
            lam=lam,
            groups=GROUPS,
            crops=crops,
        )
        errors = ((scores - np.eye(3)[LABELS]) ** 2).sum(axis=1)
        squares[lam] = sum(errors[label == LABELS].mean() for label in range(3))
    assert chosen == min(squares, key=squares.__getitem__)
    labels, groups = np.repeat(LABELS, 4), np.repeat(GROUPS, 4)
    rows = [examples(*world(seed)) for seed in range(20)]
    asked_all = [choose_lam(row, labels, 3, groups) for row in rows]
    assert [choose_lam(row, labels, 3, groups, 4) for row in rows] != asked_all


def test_what_is_not_given_is_chosen_with_the_crops() -> None:
    features, crops = world(11)
    options = RIDGE.options(features, LABELS, 3, groups=GROUPS, crops=crops)
    plain = RIDGE.options(features, LABELS, 3, groups=GROUPS)
    assert options["lam"] != plain["lam"]
    with_crops, without = (
        count_correction_strength(
            RIDGE, features, LABELS, 3, lam=options["lam"], groups=GROUPS, crops=given
        )
        for given in (crops, None)
    )
    assert options["strength"] == with_crops != without
    for use in (RIDGE.fit, RIDGE.leave_one_out):
        found = use(features, LABELS, 3, groups=GROUPS, crops=crops)
        expected = use(features, LABELS, 3, groups=GROUPS, crops=crops, **options)
        np.testing.assert_equal(found, expected)


def spied_ridge() -> tuple[Head, list[np.ndarray]]:
    """Ridge, and a list that gets the examples of each of its fits."""
    seen: list[np.ndarray] = []

    def classes(rows: np.ndarray, targets: np.ndarray, lam: float) -> dict[str, np.ndarray]:
        seen.append(rows)
        return RIDGE.fit_classes(rows, targets, lam)

    return replace(RIDGE, fit_classes=classes), seen


def test_photo_counts_are_of_photos() -> None:
    features, crops = world(3)
    known = unit_rows(features)
    given = RIDGE.fit(features, LABELS, 3, strength=1.0, lam=0.2, crops=crops)["offsets"]
    plain = RIDGE.fit(features, LABELS, 3, strength=1.0, lam=0.2)["offsets"]
    np.testing.assert_array_equal(given, plain)
    spied, seen = spied_ridge()
    count_correction_strength(spied, known, LABELS, 3, lam=0.1, crops=crops)
    assert seen and all(len(rows) % 4 == 0 for rows in seen)  # the cuts are fitted with crops too


def test_the_strength_is_chosen_from_three_crops_of_a_photo() -> None:
    features, crops = world(11)
    spied, seen = spied_ridge()
    assert crops.shape[1] == 3
    for given in (crops, np.concatenate([crops, -crops], axis=1)):
        count_correction_strength(spied, features, LABELS, 3, lam=0.1, crops=given)
    assert len(seen) > 2
    for few, of_many in zip(seen[: len(seen) // 2], seen[len(seen) // 2 :], strict=True):
        np.testing.assert_array_equal(few, of_many)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "ridge"])
def test_other_heads_learn_from_photos_alone(name: str) -> None:
    features, crops = world()
    given, plain = (HEADS[name].fit(features, LABELS, 3, crops=c) for c in (crops, None))
    assert all(np.array_equal(given[key], plain[key]) for key in plain)
    given, plain = (HEADS[name].leave_one_out(features, LABELS, 3, crops=c) for c in (crops, None))
    np.testing.assert_array_equal(given, plain)


@pytest.mark.parametrize("most, learned", [(17, 0), (18, 1), (35, 2), (36, 3), (100, 3)])
def test_many_photos_need_fewer_crops(
    monkeypatch: pytest.MonkeyPatch, most: int, learned: int
) -> None:
    features, crops = world()
    monkeypatch.setattr(labelled, "MOST_EXAMPLES", most)
    for use in (RIDGE.fit, RIDGE.leave_one_out):
        given = use(features, LABELS, 3, lam=0.1, strength=0.0, crops=crops)
        fewer = crops[:, :learned] if learned else None
        expected = use(features, LABELS, 3, lam=0.1, strength=0.0, crops=fewer)
        np.testing.assert_equal(given, expected)


@pytest.mark.parametrize("number, weight", [(3, 1.0), (5, 1.0), (11, 2.0)])
def test_a_photo_weighs_no_more_however_many_crops_it_has(number: int, weight: float) -> None:
    features, crops = world()
    crops = np.concatenate([crops] * 4, axis=1)[:, :number]
    targets = np.eye(3, dtype=np.float32)[np.repeat(LABELS, number + 1)]
    rows = unit_rows(
        np.concatenate([features[:, None], crops], axis=1).reshape(-1, features.shape[1])
    )
    found = RIDGE.fit(features, LABELS, 3, strength=0.0, lam=0.1, crops=crops)
    expected = ridge_weights(rows, targets, 0.1 * weight)
    np.testing.assert_allclose(found["weights"], expected, atol=1e-5)
    photo = np.arange(9)
    [(scores, _)] = ridge_held_out(
        rows.astype(np.float64),
        targets.astype(np.float64),
        [0.1 * weight],
        held_out_batches(np.repeat(LABELS, number + 1), np.repeat(photo, number + 1)),
    )
    held_out = RIDGE.leave_one_out(features, LABELS, 3, strength=0.0, lam=0.1, crops=crops)
    np.testing.assert_allclose(held_out, scores[:: number + 1], atol=1e-5)
    seen = []

    def one(*task: np.ndarray) -> list:
        seen.extend(task[2])
        return [(task[1], None) for _ in task[2]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ridge, "ridge_held_out", one)
        chosen = choose_lam(rows, np.repeat(LABELS, number + 1), 3, None, number + 1)
    np.testing.assert_allclose(seen, np.array(ridge.LAMBDAS) * weight)
    assert chosen == ridge.LAMBDAS[0]  # in its own measure, not in that of the fit


def test_the_choice_of_a_head_sees_the_crops() -> None:
    chosen = set()
    for seed in range(20):
        features, crops = world(seed, 6)
        seen, unseen = (choose_head(features, LABELS, 3, crops=c)[0].name for c in (crops, None))
        chosen.add(seen != unseen)
    assert chosen == {True, False}


def test_a_profile_keeps_the_crops_where_there_are_any() -> None:
    features, crops = world()
    plain = profile.Profile(
        name="mine",
        labels=("a", "b", "c"),
        model_name="m",
        model_folder="",
        model_fingerprint="f",
        head="ridge",
        head_params=RIDGE.fit(features, LABELS, 3),
        temperature=1.0,
        unknown_threshold=0.5,
        folder="/photos",
        photo_paths=tuple(f"{n}.jpg" for n in range(9)),
        photo_hashes=tuple(map(str, range(9))),
        photo_labels=LABELS,
        embeddings=features,
        greys=np.zeros((9, profile.GREY_SIDE**2), np.int8),
    )
    assert "crops" not in profile.to_tensors(plain)[0]
    assert profile.from_tensors(*profile.to_tensors(plain)).crops is None
    kept = replace(plain, crops=crops)
    tensors, header = profile.to_tensors(kept)
    np.testing.assert_array_equal(profile.from_tensors(tensors, header).crops, crops)
    for odd in (crops[:8], crops[:, :, 1:], crops[0], np.full_like(crops, np.nan)):
        with pytest.raises(ValueError, match=r"crops|NaN"):
            profile.from_tensors({**tensors, "crops": odd}, header)
