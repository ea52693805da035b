"""The ridge head: plain ridge regression but for balance, and a penalty that follows the photos."""

import numpy as np
import torch

from litecli.heads.heads import HEADS
from litecli.heads.labelled import eigenbasis, unit_rows
from litecli.heads.ridge import LAMBDAS, USUAL_LAMBDA, choose_lam

from .small_features import photos


def test_ridge_of_equal_counts_is_plain_ridge_regression():
    features, labels = photos([4, 4, 4], dim=20)
    unit = unit_rows(features.astype(np.float64))
    plain = np.linalg.solve(unit.T @ unit + 0.1 * np.eye(20), unit.T @ np.eye(3)[labels]).T
    params = HEADS["ridge"].fit(unit, labels, 3, lam=0.1)
    np.testing.assert_allclose(params["weights"], plain, atol=1e-10)


def test_ridge_balances_classes_as_copies_of_the_photos_would():
    # Ten copies of one photo weigh like one photo: balance undoes them, up to the scale of lam.
    features, labels = photos([1, 3], dim=20)
    copied = np.concatenate([np.repeat(features[:1], 10, axis=0), features[1:]])
    counted = np.concatenate([np.zeros(10, dtype=int), labels[1:]])
    once = HEADS["ridge"].fit(features, labels, 2, strength=0.0, lam=0.1 * 2.0)
    many = HEADS["ridge"].fit(copied, counted, 2, strength=0.0, lam=0.1 * 6.5)
    np.testing.assert_allclose(once["weights"], many["weights"], atol=1e-4)


def test_lam_follows_the_noise_and_needs_photos_to_leave_out():
    clean, labels = photos([6] * 4, dim=12, noise=0.1)
    noisy, _ = photos([6] * 4, dim=12, noise=3.0)
    assert choose_lam(clean, labels, 4) < choose_lam(noisy, labels, 4)
    assert choose_lam(clean[::6], labels[::6], 4) == USUAL_LAMBDA in LAMBDAS


def test_a_memory_of_bases_serves_the_choice_of_the_penalty_too():
    features, labels = photos([3, 3, 3])
    asked = []

    def basis(rows):
        asked.append(rows)
        return eigenbasis(rows)

    HEADS["ridge"].leave_one_out(features, labels, 3, lam=0.1, basis=basis)
    alone = len(asked)
    HEADS["ridge"].leave_one_out(features, labels, 3, basis=basis)
    assert len(asked) - alone > alone > 0


def test_the_penalty_is_chosen_in_float64_for_tensors_too():
    """As `leave_one_out` is computed, so that both ask for one and the same eigenbasis."""
    features, labels = photos([3, 3, 3])
    asked = []

    def basis(rows):
        asked.append(rows)
        return eigenbasis(rows)

    for rows in (features, torch.from_numpy(features)):
        HEADS["ridge"].options(rows, labels, 3, basis=basis)
    own, there = asked
    assert own.dtype == np.float64 and there.dtype == torch.float64
    np.testing.assert_allclose(there, own, atol=1e-15)
