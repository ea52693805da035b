"""The audit of support gradients: known answers, exact where it can be, honest about chance."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from litecli import lite, storage
from litecli.audit.audit import ALL, SET_ENCODER, SHARED, _Draw, _parts, audit
from litecli.audit.data import AuditData, AuditSettings, drawn_tasks, photo_tasks
from litecli.audit.learner import AUDITED, open_learner
from litecli.audit.moments import Moments, Row, over_tasks
from litecli.config import BACKBONE_PREFIX, MODEL_KEY, Preprocess
from litecli.drawn import scenes
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model, open_model
from litecli.lite import Subset
from litecli.networks import backbone
from litecli.networks.backbone import Backbone
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import model_config
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


def test_the_noise_is_the_bias_of_an_unbiased_gradient() -> None:
    """Root mean squares over many sets of draws, where each set shows some bias by chance."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(50, generator=generator)
    found = []
    for _ in range(400):
        moments = Moments(exact)
        for _ in range(10):
            moments.add(exact + torch.randn(50, generator=generator))
        found.append(moments.row("lite", 4, ALL))
    bias, noise = (np.sqrt(np.mean([getattr(r, n) ** 2 for r in found])) for n in ("bias", "noise"))
    assert bias == pytest.approx(noise, rel=0.03)
    # The evidence is that of a normal deviate, and all but never enough to speak of a bias.
    evidence = np.array([row.evidence for row in found])
    assert abs(evidence.mean()) < 0.15 and evidence.std() == pytest.approx(1, abs=0.1)
    assert sum(row.biased for row in found) <= 2


def test_two_draws_that_are_alike_prove_nothing() -> None:
    """Small tasks have few subsets: the spread of two draws may be 0 by chance."""
    exact, draw = torch.ones(10), torch.full((10,), 3.0)
    moments = Moments(exact)
    for _ in range(2):
        moments.add(draw)
    row = moments.row("lite", 1, ALL)
    assert row.bias == pytest.approx(2) and row.noise == 0
    assert not row.biased and not row.decided


@pytest.mark.parametrize(
    ("draws", "tasks", "enough"), [(10, 1, False), (11, 1, True), (6, 2, True)]
)
def test_whether_there_were_draws_enough_is_said(draws: int, tasks: int, enough: bool) -> None:
    """However large a bias, n draws of a task agree by at most the root of n - 1."""
    generator, exact, rows = torch.Generator().manual_seed(0), torch.ones(10), []
    for _ in range(tasks):
        moments = Moments(exact)
        for _ in range(draws):
            moments.add(3 * exact + 0.01 * torch.randn(10, generator=generator))
        rows.append(moments.row("lite", 1, ALL))
    row = over_tasks(rows)
    assert row.evidence <= row.most_evidence and row.decided == enough


def test_moments_are_those_of_the_draws_all_kept() -> None:
    generator = torch.Generator().manual_seed(1)
    exact = torch.randn(30, generator=generator, dtype=torch.float64)
    draws = 0.5 * exact + torch.randn(8, 30, generator=generator, dtype=torch.float64)
    moments = Moments(exact)
    for gradient in draws:
        moments.add(gradient)
    row, length = moments.row("lite", 4, ALL), exact.norm()
    assert row.bias == pytest.approx(float((draws.mean(0) - exact).norm() / length))
    spread = (draws.var(0).sum().sqrt() / length).item()
    assert row.spread == pytest.approx(spread) and row.noise == pytest.approx(spread / 8**0.5)
    cosines = torch.cosine_similarity(draws, exact[None])
    assert row.cosine == pytest.approx(float(cosines.mean()))
    errors = draws - exact
    products = [float(errors[k] @ errors[:k].sum(0)) for k in range(1, 8)]
    assert row.evidence == pytest.approx(sum(products) / np.linalg.norm(products))


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


def test_tasks_are_put_together_by_root_mean_squares() -> None:
    rows = [
        Row("lite", 4, ALL, 3.0, 0.3, 6.0, 0.4, 2.0, 5.0),
        Row("lite", 4, ALL, 4.0, 0.4, 8.0, 0.6, 4.0, 7.0),
    ]
    together, root = over_tasks(rows), 0.5**0.5
    lengths = (together.bias, together.noise, together.spread)
    assert lengths == pytest.approx((5 * root, 0.5 * root, 10 * root))
    assert together.cosine == pytest.approx(0.5)
    # Two normal deviates: their sum over sqrt(2) is one.
    assert together.evidence == pytest.approx(6 * root)


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


def write_model_folder(
    folder: Path, learner: str = "protonets", network: str = "test_resnet", side: int = 64
) -> Model:
    """A model folder whose network is timm's own tiny one for tests, without a graph to run."""
    built = backbone.build(network, "none", side)
    model = FewShotModel(built, "cosine")
    config = model_config(folder.name, model, learner, "cosine")
    tensors = {BACKBONE_PREFIX + n: v.numpy() for n, v in built.network.state_dict().items()}
    tensors["head.log_scale"] = model.log_scale.detach().numpy()
    metadata = {MODEL_KEY: storage.to_json(config.to_dict())}
    storage.write_tensors(folder / "model.safetensors", tensors, metadata)
    (folder / "encoder.onnx").write_bytes(b"")
    return open_model(folder)


def test_a_models_own_learner_is_examined_as_it_is(tmp_path: Path) -> None:
    found = write_model_folder(tmp_path / "tiny")
    model, new = open_learner(found)
    assert not new and not model.has_film and model.head == "cosine"
    assert model.backbone.preprocess.image_size == 64
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert open_learner(found, "protonets")[1] is False
    assert open_learner(found, image_size=96)[0].backbone.preprocess.image_size == 96


@pytest.mark.parametrize(("learner", "head"), [("simple-cnaps", "mahalanobis"), ("ridge", "ridge")])
def test_another_learner_is_new_and_random_by_its_seed(
    learner: str, head: str, tmp_path: Path
) -> None:
    found = write_model_folder(tmp_path / "tiny")
    (model, new), (same, _), (other, _) = (open_learner(found, learner, seed=s) for s in (0, 0, 1))
    assert new and model.head == head
    film = learner == "simple-cnaps"
    assert model.has_film is film
    # As meta-train has it by default: FiLM steers a network that stays as it is.
    assert all(p.requires_grad is not film for p in model.network.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    if film:
        assert model.generator is not None and other.generator is not None
        assert not torch.equal(model.generator.strength, other.generator.strength)
        values = model.generate(torch.randn(4, 64))
        own = dict(model.network.named_parameters())
        assert any((values[name] - own[name]).abs().max() > 0.01 for name in values)


def test_a_network_of_one_size_keeps_it(tmp_path: Path) -> None:
    found = write_model_folder(tmp_path / "tiny", network="vit_tiny_patch16_224", side=96)
    assert open_learner(found)[0].backbone.preprocess.image_size == 96
    with pytest.raises(LiteError, match="cannot see images of 80 px") as caught:
        open_learner(found, image_size=80)
    assert caught.value.code == ExitCode.USAGE and caught.value.fix == "--image-size 96"


def test_maml_is_refused(tmp_path: Path) -> None:
    found = write_model_folder(tmp_path / "tiny", learner="maml")
    for learner in (None, "maml"):
        with pytest.raises(LiteError, match="maml has no support gradient") as caught:
            open_learner(found, learner)
        assert caught.value.code == ExitCode.USAGE
    assert "maml" not in AUDITED
