"""Every way to solve a task: sees no query while it learns, starts each task alike, and learns."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli.config import Preprocess
from litecli.errors import ExitCode, LiteError
from litecli.evaluation import baselines, solvers
from litecli.evaluation.defaults import BASELINES, Baseline
from litecli.evaluation.solvers import TaskSolver
from litecli.heads.heads import HEADS
from litecli.networks.backbone import Backbone
from litecli.networks.model import FewShotModel

SIDE, WAY, PHOTOS = 8, 3, 10  # pixels, classes, photos of a class
CHANNELS = 6


class Network(nn.Sequential):
    """Convolution, batch norm with statistics of its own, ReLU, mean pooling."""

    def __init__(self) -> None:
        norm = nn.BatchNorm2d(CHANNELS)
        super().__init__(
            nn.Conv2d(3, CHANNELS, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]


def make_model(head: str = "cosine", film: bool = False) -> FewShotModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        preprocess = Preprocess(image_size=SIDE)
        described = Backbone(Network(), "tiny", {}, CHANNELS, preprocess, "unknown", "")
        model = FewShotModel(described, head, film)
        # At first they generate what was there.
        for part, spread in ((model.generator, 0.3), (model.head_generator, 0.03)):
            for parameter in part.parameters() if part is not None else ():
                nn.init.normal_(parameter, std=spread)
    return model


def photos(seed: int = 0) -> Tensor:
    """Ten photos [30, 3, 8, 8] of each class: a colour of its own under noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.3 * torch.randn(WAY * PHOTOS, 3, SIDE, SIDE, generator=generator)
    colours = 2.0 * torch.eye(3).repeat_interleave(PHOTOS, dim=0)
    return noise + colours[:, :, None, None]


def inputs_of(images: Tensor) -> solvers.Inputs:
    return lambda numbers: images[torch.from_numpy(numbers)]


def frozen(fit: solvers.Fit) -> Callable[[Tensor], TaskSolver]:
    def make(images: Tensor) -> TaskSolver:
        with torch.no_grad():
            return solvers.FrozenFeatures(make_model().features(images).numpy(), fit)

    return make


def with_film(head: str, chunk: int = 7) -> Callable[[Tensor], TaskSolver]:
    def make(images: Tensor) -> TaskSolver:
        model = make_model(head, film=True)
        fit = baselines.own_head(model) if head == "generated" else baselines.named_head(head)
        return solvers.film_features(model, inputs_of(images), np.arange(30), fit, chunk)

    return make


SOLVERS: dict[str, Callable[[Tensor], TaskSolver]] = {
    **{head: frozen(baselines.named_head(head)) for head in (*HEADS, "auto")},
    "linear": frozen(baselines.logistic_probe),
    "finetune": frozen(baselines.finetuned_head(Baseline("finetune", 50, 0.1))),
    "finetune-film": lambda images: baselines.finetune_film(
        make_model(), inputs_of(images), Baseline("finetune-film", 10, 0.1), 7
    ),
    "maml": lambda images: baselines.maml_solver(
        make_model(), inputs_of(images), Baseline("maml", 10, 0.5), 7
    ),
    "film cosine": with_film("cosine"),
    "film generated": with_film("generated"),
}
SUPPORT = np.array([0, 1, 2, 3, 10, 11, 12, 20, 21, 22])
LABELS = SUPPORT // PHOTOS
QUERY = np.setdiff1d(np.arange(WAY * PHOTOS), SUPPORT)


@pytest.fixture(params=SOLVERS)
def make(request: pytest.FixtureRequest) -> Callable[[Tensor], TaskSolver]:
    return SOLVERS[request.param]


def test_easy_classes_are_learned(make: Callable[[Tensor], TaskSolver]) -> None:
    classifier = make(photos()).adapt(SUPPORT, LABELS)
    scores = classifier.scores(QUERY)
    assert scores.shape == (20, WAY)
    np.testing.assert_array_equal(scores.argmax(1), QUERY // PHOTOS)


def test_no_query_photo_is_seen_while_learning(make: Callable[[Tensor], TaskSolver]) -> None:
    """With noise in place of every query photo, exactly the same is learned."""
    scrambled = photos()
    scrambled[torch.from_numpy(QUERY)] = torch.randn(20, 3, SIDE, SIDE)
    plain, other = (make(images).adapt(SUPPORT, LABELS) for images in (photos(), scrambled))
    np.testing.assert_array_equal(plain.scores(SUPPORT), other.scores(SUPPORT))
    assert np.abs(plain.scores(QUERY) - other.scores(QUERY)).max() > 0.01


def test_every_task_starts_alike(make: Callable[[Tensor], TaskSolver]) -> None:
    """What was learned before does not matter, and what comes after takes nothing away."""
    solver = make(photos())
    first = solver.adapt(SUPPORT, LABELS)
    before = first.scores(QUERY)
    turned = solver.adapt(SUPPORT[::-1].copy(), 2 - LABELS[::-1])
    assert np.abs(turned.scores(QUERY) - before).max() > 1e-3
    np.testing.assert_array_equal(first.scores(QUERY), before)
    np.testing.assert_array_equal(solver.adapt(SUPPORT, LABELS).scores(QUERY), before)


@pytest.mark.parametrize("name", ["finetune-film", "maml", "film cosine", "film generated"])
def test_the_model_is_left_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weight and no batch statistic moves, and no gradient is left lying about."""
    made: list[FewShotModel] = []
    original = make_model

    def remembered(head: str = "cosine", film: bool = False) -> FewShotModel:
        made.append(original(head, film))
        return made[-1]

    monkeypatch.setitem(globals(), "make_model", remembered)
    solver = SOLVERS[name](photos())
    before = {key: value.clone() for key, value in made[0].state_dict().items()}
    solver.adapt(SUPPORT, LABELS).scores(QUERY)
    assert before.keys() == made[0].state_dict().keys()
    for key, value in made[0].state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(parameter.grad is None for parameter in made[0].parameters())


def test_only_support_photos_are_read_while_learning() -> None:
    for make in (baselines.finetune_film, baselines.maml_solver):
        read: set[int] = set()
        images = photos()

        def inputs(numbers: np.ndarray, read: set[int] = read, images: Tensor = images) -> Tensor:
            read.update(numbers.tolist())
            return images[torch.from_numpy(numbers)]

        solver = make(make_model(), inputs, Baseline("any", 2, 0.1), 3)
        classifier = solver.adapt(SUPPORT, LABELS)
        assert read == set(SUPPORT.tolist())
        classifier.scores(QUERY)
        assert read == set(range(30))


@pytest.mark.parametrize("name", ["finetune-film", "maml", "film cosine", "film generated"])
def test_no_more_than_a_chunk_of_photos_is_in_memory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(images: Tensor) -> solvers.Inputs:
        def inputs(numbers: np.ndarray) -> Tensor:
            sizes.append(len(numbers))
            return images[torch.from_numpy(numbers)]

        return inputs

    monkeypatch.setitem(globals(), "inputs_of", counted)
    SOLVERS[name](photos()).adapt(SUPPORT, LABELS).scores(QUERY)
    assert max(sizes) == 7


def test_what_moves_is_what_the_baseline_says() -> None:
    head = WAY * CHANNELS + WAY
    network = sum(p.numel() for p in make_model().network.parameters())
    expected = {"finetune": head, "finetune-film": head + 2 * CHANNELS, "maml": head + network}
    for name, number in expected.items():
        assert SOLVERS[name](photos()).adapt(SUPPORT, LABELS).num_parameters == number


@pytest.mark.parametrize("head", ["cosine", "generated"])
def test_film_values_come_from_the_support_set(head: str) -> None:
    model, images = make_model(head, film=True), photos()
    known, asked = (torch.from_numpy(numbers) for numbers in (SUPPORT, QUERY))
    with torch.no_grad():
        film = model.generate(model.embed(images[known]))
        support, query = (model.features(images[n], film=film) for n in (known, asked))
        if head == "generated":
            expected = model.scores(model.fit(support, torch.from_numpy(LABELS)), query)
        else:
            params = HEADS[head].fit(support, torch.from_numpy(LABELS), WAY)
            expected = HEADS[head].score(params, query)
        plain = model.features(images[asked])
    assert (plain - query).abs().max() > 1e-3  # FiLM does something
    for chunk in (1, 4, 100):
        found = with_film(head, chunk)(images).adapt(SUPPORT, LABELS).scores(QUERY)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_fine_tuned_layer_is_fifty_steps_of_adam() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((10, 4)).astype(np.float32)
    layer = nn.Linear(4, WAY)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    rule = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(50):
        rule.zero_grad()
        functional.cross_entropy(layer(torch.from_numpy(features)), torch.tensor(LABELS)).backward()
        rule.step()
    found = baselines.finetuned_head(BASELINES["finetune"])(features, LABELS).scores(features)
    expected = layer(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", [2, 3])
def test_the_probe_is_a_logistic_regression_of_unit_length_features(way: int) -> None:
    """At its optimum the gradient of the loss with penalty |W|^2 / 200 is zero."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(way), 5)
    features = (rng.standard_normal((5 * way, 4)) + 3 * np.eye(4)[labels]).astype(np.float32)
    probe = baselines.logistic_probe(features, labels)
    scores = probe.scores(features)
    assert scores.shape == (5 * way, way)
    np.testing.assert_allclose(scores, probe.scores(7 * features), atol=1e-5)

    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    wanted = np.eye(way)[labels]
    if way == 2:  # one logit; ours are it and its opposite
        shares = 1 / (1 + np.exp(-scores[:, 1:]))
        error, logits = shares - wanted[:, 1:], scores[:, 1:]
    else:
        shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        error, logits = shares - wanted, scores
    design = np.concatenate([unit, np.ones((5 * way, 1))], axis=1)
    weights = np.linalg.lstsq(design, logits, rcond=None)[0]  # D + 1 <= N: the probe's own
    assert np.abs(unit.T @ error + weights[:-1] / 100).max() < 2e-3
    assert np.abs(error.sum(0)).max() < 2e-3


def test_a_missing_package_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    with pytest.raises(LiteError, match="scikit-learn") as caught:
        baselines.check_installed(BASELINES["linear"])
    assert caught.value.code == ExitCode.MACHINE
    assert caught.value.fix == "pip install scikit-learn"
    for name in ("finetune", "finetune-film", "maml"):
        baselines.check_installed(BASELINES[name])


def test_a_network_without_norm_layers_has_no_film_to_tune() -> None:
    model = make_model()
    model.network[1] = nn.Identity()  # type: ignore[index]
    with pytest.raises(LiteError, match="no norm layers"):
        baselines.finetune_film(model, inputs_of(photos()), BASELINES["finetune-film"], 7)
