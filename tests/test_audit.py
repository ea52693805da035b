"""The audit of support gradients: known answers, exact where it can be, on tasks of its seed."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from litecli import lite
from litecli.audit.audit import ALL, SET_ENCODER, SHARED, _Draw, _parts, audit
from litecli.audit.data import AuditData, drawn_tasks, photo_tasks
from litecli.audit.moments import Row
from litecli.audit.settings import AuditSettings
from litecli.config import Preprocess
from litecli.drawn import scenes
from litecli.errors import ExitCode, LiteError
from litecli.lite import Subset
from litecli.networks.backbone import Backbone
from litecli.networks.model import FewShotModel
from litecli.pictures.augment import View
from litecli.tasks.drawn_classes import DRAWN_VIEWS
from litecli.tasks.episodes import Episode


def make_model(head: str = "cosine", film: bool = False) -> FewShotModel:
    """A tiny model in which every parameter has a gradient."""
    torch.manual_seed(0)
    # No last bias: distances do not see one.
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 6, bias=False)
    )
    model = FewShotModel(Backbone(network, "tiny", {}, 6, Preprocess(8), "", ""), head, film)
    if model.generator is not None:
        for parameter in model.generator.parameters():
            nn.init.normal_(parameter, std=0.3)
    return model


def make_data(tasks: int = 1, support: tuple[int, ...] = (2, 4, 6)) -> AuditData:
    """Tasks of noise that leans to one colour for each class; `support` photos per class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(support)), support)
    query_labels = np.repeat(np.arange(len(support)), 2)
    squares, episodes = {}, []
    for _ in range(tasks):
        first = len(squares)
        for label in (*labels, *query_labels):
            photo = rng.integers(0, 200, (9, 9, 3))
            photo[..., label % 3] += 55
            squares[len(squares)] = photo.astype(np.uint8)
        numbers = np.arange(first, len(squares))
        cut = len(labels)
        episodes.append(Episode("made", numbers[:cut], labels, numbers[cut:], query_labels))
    return AuditData("made", tuple(episodes), squares)


def make_settings(
    lite_h: tuple[int, ...] = (4,), draws: int = 2, seed: int = 0, **changed: int
) -> AuditSettings:
    shape = {"way": 3, "support": 12, "query": 2, "tasks": 1} | changed
    return AuditSettings(**shape, draws=draws, lite_h=lite_h, seed=seed)


def by_name(rows: list[Row], part: str = ALL) -> dict[tuple[str, int], Row]:
    return {(row.gradient, row.h): row for row in rows if row.part == part}


def test_exact_is_exact_and_none_is_biased_without_chance() -> None:
    rows = by_name(audit(make_model(), make_data(2), make_settings()))
    exact, none = rows["exact", 12], rows["none", 0]
    assert (exact.bias, exact.noise, exact.spread, exact.biased) == (0, 0, 0, False)
    assert exact.cosine == pytest.approx(1, abs=1e-6)
    assert none.bias > 0.1 and none.cosine < 0.99 and none.biased
    assert (none.noise, none.spread) == (0, 0)


@pytest.mark.parametrize("gradient", ["lite", "stratified", "small-task", SHARED])
def test_h_of_the_whole_support_set_is_exact(gradient: str) -> None:
    model = make_model(film=True)
    rows = audit(model, make_data(), make_settings((12, 30), draws=3))
    for part in (ALL, SET_ENCODER):
        for h in (12, 30):
            row = by_name(rows, part)[gradient, h]
            assert max(row.bias, row.spread) < 1e-5 and row.cosine == pytest.approx(1, abs=1e-5)


def test_lite_and_stratified_are_unbiased_and_a_small_task_is_not() -> None:
    rows = by_name(audit(make_model(), make_data(2), make_settings((4,), draws=60)))
    for gradient in ("lite", "stratified"):
        assert not rows[gradient, 4].biased
        assert rows[gradient, 4].bias < 1.5 * rows[gradient, 4].noise
    small = rows["small-task", 4]
    assert small.biased and small.bias > 3 * small.noise and small.evidence > 5
    assert rows["stratified", 4].spread < rows["lite", 4].spread


def test_more_photos_spread_less() -> None:
    rows = by_name(audit(make_model(), make_data(), make_settings((1, 6, 11), draws=30)))
    spreads = [rows["lite", h].spread for h in (1, 6, 11)]
    cosines = [rows["lite", h].cosine for h in (1, 6, 11)]
    assert spreads == sorted(spreads, reverse=True) and cosines == sorted(cosines)
    # Sampling without replacement: the variance of a sum goes with (N - H) / H.
    expected = ((12 - 1) / 1 / ((12 - 6) / 6)) ** 0.5
    assert spreads[0] / spreads[1] == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("head", ["cosine", "mahalanobis"])
def test_the_bias_of_a_shared_subset_is_the_mean_over_all_subsets(head: str) -> None:
    """It is computed from a formula; here every subset is drawn."""
    model, data = make_model(head, film=True), make_data(support=(2, 1, 2))
    rows = audit(model, data, make_settings((2, 3)))
    draw = _Draw(
        model, View(data.squares.__getitem__, Preprocess(8)), data.episodes[0], lambda: None
    )
    whole = Subset(torch.arange(5), torch.ones(5))
    exact = draw.back(draw.episode, whole, whole)
    for h in (2, 3):
        subsets = [
            Subset(torch.tensor(chosen), torch.full((h,), 5 / h))
            for chosen in combinations(range(5), h)
        ]
        mean = torch.stack([draw.back(draw.episode, s, s) for s in subsets]).mean(0)
        for part, place in _parts(model).items():
            row = by_name(rows, part)[SHARED, h]
            expected = float((mean - exact)[place].norm() / exact[place].norm())
            assert row.bias == pytest.approx(expected, rel=2e-3)
            assert row.biased and row.noise == 0
    assert by_name(rows, SET_ENCODER)[SHARED, 2].bias > 0.02


def test_only_the_shared_row_draws_one_subset_for_both_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = make_model(film=True), make_data()
    draw = _Draw(
        model, View(data.squares.__getitem__, Preprocess(8)), data.episodes[0], lambda: None
    )
    backward, pairs = lite.task_backward, []

    def noted(*args, **kwargs):
        pairs.append((kwargs["subset"].indices.tolist(), kwargs["set_subset"].indices.tolist()))
        return backward(*args, **kwargs)

    monkeypatch.setattr(lite, "task_backward", noted)
    generator = torch.Generator().manual_seed(0)
    for gradient in (SHARED, "lite", "stratified"):
        for _ in range(5):
            draw(gradient, 4, generator)
    same = [first == second for first, second in pairs]
    assert same == [True] * 5 + [False] * 5 + same[10:]
    assert not all(same[10:])  # a few strata of few photos: two draws may well agree
    assert len({tuple(first) for first, _ in pairs}) > 10  # drawn anew each time


def test_only_film_shares() -> None:
    with_film = audit(make_model(film=True), make_data(), make_settings())
    without = audit(make_model(), make_data(), make_settings())
    assert {row.part for row in without} == {ALL} and {row.part for row in with_film} == {
        ALL,
        SET_ENCODER,
    }
    assert SHARED in {r.gradient for r in with_film} - {r.gradient for r in without}
    none = by_name(with_film, SET_ENCODER)["none", 0]
    assert (none.bias, none.cosine) == (1, 0)  # without support gradient it learns nothing


def test_numbers_are_repeatable() -> None:
    model, data = make_model(), make_data(2)
    rows = audit(model, data, make_settings(draws=5))
    assert rows == audit(model, data, make_settings(draws=5))
    assert rows != audit(model, data, make_settings(draws=5, seed=1))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("film", [False, True])
def test_progress_counts_every_gradient(film: bool) -> None:
    seen: list[tuple[int, int]] = []
    settings = make_settings((2, 4), draws=3)
    audit(make_model(film=film), make_data(2), settings, lambda *step: seen.append(step))
    # Exact twice, none, and the draws; with FiLM what the shared row is computed from.
    total = 2 * (3 + 3 * 2 * 4 + 12 + 2) if film else 2 * (3 + 3 * 2 * 3)
    assert seen == [(n, total) for n in range(1, total + 1)]


def test_drawn_tasks_are_those_of_their_seed() -> None:
    data = drawn_tasks(make_settings(tasks=2), 24)
    again = drawn_tasks(make_settings(tasks=2), 24)
    assert data.squares.keys() == again.squares.keys()
    assert all((data.squares[n] == again.squares[n]).all() for n in data.squares)
    assert {square.shape for square in data.squares.values()} == {(24, 24, 3)}
    other = drawn_tasks(make_settings(tasks=2, seed=1), 24)
    assert data.squares.keys() != other.squares.keys()
    number = min(other.squares)
    view = scenes.class_view(number // DRAWN_VIEWS, number % DRAWN_VIEWS, 1, 24)
    assert (other.squares[number] == view).all()
    assert data.summary().startswith("2 tasks of drawn objects: 3 classes, ")
    assert data.summary().endswith(" and 6 query photos")


def write_classes(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (30, 20), (number, 0, 0)).save(folder / name / f"{number}.png")
    return folder


def test_unreadable_photos_are_replaced_by_others(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "things", {"a": 9, "b": 9})
    settings = make_settings(way=2, support=8, query=2)
    first = photo_tasks(folder, settings, 16)
    assert first.skipped == 0 and first.name == "things"
    broken = int(first.episodes[0].support[0])
    paths = sorted(folder.rglob("*.png"))
    paths[broken].write_bytes(b"not a photo")
    data = photo_tasks(folder, settings, 16)
    used = {int(n) for episode in data.episodes for n in (*episode.support, *episode.query)}
    assert data.skipped == 1 and broken not in used and used <= data.squares.keys()
    assert {square.shape for square in data.squares.values()} == {(16, 16, 3)}


def test_one_class_is_no_task(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "things", {"a": 9, "b": 1})
    with pytest.raises(LiteError, match="no two classes") as caught:
        photo_tasks(folder, make_settings(), 16)
    assert caught.value.code == ExitCode.INPUT
