"""Accuracy on tasks: deterministic, right where the answer is known, and honest about its error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litecli.errors import ExitCode, LiteError
from litecli.evaluation import baselines, evaluation
from litecli.evaluation.defaults import BASELINES
from litecli.evaluation.evaluation import evaluate, mean_and_interval, solve_task
from litecli.evaluation.solvers import FrozenFeatures
from litecli.heads.head import Options
from litecli.heads.heads import HEADS
from litecli.library.model_files import Model
from litecli.tasks.episodes import Episode, Source, sample_fixed

from .small_evaluations import no_timm, write_classes

__all__ = ("no_timm",)  # a fixture


def test_separable_objects_are_named_without_a_fault(tiny_model: Model, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", 9)
    found = evaluate(data, tiny_model, way=5, shots=3, query=4, tasks=30, head="cosine")
    assert (found.accuracy, found.ci95) == (1.0, 0.0)
    assert (found.way, found.shots, found.query, found.tasks) == (5, 3, 4, 30)
    assert (found.images, found.classes, found.skipped) == (54, 6, 0)
    assert (found.head, found.adapt_macs, found.passes) == ("cosine", 15_000, 1)
    assert found.adapt_seconds > 0 and found.images_per_second > 0
    assert (found.baseline, found.short_classes) == ("", 0)
    assert found.adapt_parameters == 5 * 24 + 5  # weights and offsets of five classes


def test_noise_is_named_by_chance(tiny_model: Model, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", 12, noise=True)
    found = evaluate(data, tiny_model, way=5, shots=3, query=5, tasks=150, head="cosine")
    assert abs(found.accuracy - 0.2) < 0.06
    assert 0 < found.ci95 < 0.03


def test_the_same_seed_gives_the_same_number(tiny_model: Model, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", 8, noise=True)

    def result(seed: int) -> tuple[float, float]:
        found = evaluate(data, tiny_model, way=4, shots=2, query=5, tasks=20, seed=seed)
        return found.accuracy, found.ci95

    assert result(1) == result(1)
    assert result(1) != result(2)


@pytest.mark.parametrize(("way", "fix"), [(7, "--way 6"), (100, "--way 6")])
def test_too_many_classes_are_refused(
    way: int, fix: str, tiny_model: Model, tmp_path: Path
) -> None:
    data = write_classes(tmp_path / "data", 3)
    with pytest.raises(LiteError, match="6 usable classes") as caught:
        evaluate(data, tiny_model, way=way)
    assert caught.value.code == ExitCode.INPUT and caught.value.fix == fix


def test_too_few_photos_for_the_shots_are_refused(tiny_model: Model, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", 5)
    with pytest.raises(LiteError, match="more than 5 photos") as caught:
        evaluate(data, tiny_model, way=3, shots=5)
    assert caught.value.code == ExitCode.INPUT and caught.value.fix == "--shots 4"
    assert evaluate(data, tiny_model, way=3, shots=4, tasks=2).accuracy == 1.0


@pytest.mark.parametrize("split", ["", "train"])
def test_the_objects_of_several_people_are_no_one_collection(
    split: str, tiny_model: Model, tmp_path: Path
) -> None:
    for user in ("P1", "P2"):
        for thing in ("keys", "mug"):
            for part in ("clean", "clutter"):
                folder = tmp_path / "orbit" / split / user / thing / part / "video"
                folder.mkdir(parents=True)
                Image.new("RGB", (40, 40)).save(folder / "1.jpg")
                Image.new("RGB", (40, 40)).save(folder / "2.jpg")  # as good as the same photo
    with pytest.raises(LiteError, match="2 people") as caught:
        evaluate(tmp_path / "orbit", tiny_model, way=2)
    assert caught.value.code == ExitCode.INPUT
    one = Path(caught.value.fix.removeprefix("litecli evaluate "))
    assert one == tmp_path / "orbit" / split / "P1"
    assert evaluate(one, tiny_model, way=2, shots=1, tasks=2).images == 4  # one frame a second


def test_unreadable_photos_are_counted_and_left_out(tiny_model: Model, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", 6)
    (data / "class 0" / "0.png").write_bytes(b"broken")
    (data / "class 1" / "1.png").unlink()
    (data / "class 1" / "1.png").symlink_to(data / "nowhere")
    seen: list[tuple[str, int, int]] = []
    found = evaluate(
        data,
        tiny_model,
        way=6,
        shots=2,
        tasks=5,
        progress=lambda label: lambda *step: seen.append((label, *step)),
    )
    assert (found.images, found.skipped, found.accuracy) == (34, 2, 1.0)
    assert seen[-1] == ("Photos", 36, 36)


@pytest.mark.parametrize("values", [[0.2, 0.4, 0.9], [0.5] * 4, [1.0]])
def test_the_interval_is_196_standard_errors(values: list[float]) -> None:
    mean, ci95 = mean_and_interval(values)
    n = len(values)
    average = sum(values) / n
    assert mean == pytest.approx(average)
    spread = (sum((v - average) ** 2 for v in values) / (n - 1)) ** 0.5 if n > 1 else 0.0
    assert ci95 == pytest.approx(1.96 * spread / n**0.5)


def test_the_interval_holds_the_truth_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        mean, ci95 = mean_and_interval(rng.normal(0.7, 0.1, 100).tolist())
        hits += abs(mean - 0.7) <= ci95
    assert 930 <= hits <= 970


def test_auto_takes_the_better_head_of_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that a ridge tells apart and class means by cosine do not."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    features = rng.standard_normal((36, 16)) * np.array([8.0] * 4 + [0.4] * 12)
    features[:, 4:7] += 1.5 * np.eye(3)[labels]
    features = features.astype(np.float32)
    pools = tuple(tuple(np.flatnonzero(labels == c).tolist()) for c in range(3))
    source = Source("made", ("a", "b", "c"), pools)

    def mean(head: str) -> float:
        episodes = [sample_fixed(source, 3, 8, 4, 0, k) for k in range(40)]
        solver = FrozenFeatures(features, baselines.named_head(head))
        return float(np.mean([solve_task(solver, e)[0] for e in episodes]))

    assert mean("ridge") > mean("cosine") + 0.05
    assert mean("auto") > mean("cosine") + 0.04

    cosine = HEADS["cosine"], Options(strength=0.0, lam=0.0)
    monkeypatch.setattr(baselines, "choose_head", lambda *args, **options: cosine)
    assert mean("auto") == mean("cosine")


def test_the_models_own_head_is_the_default(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    data = write_objects({"keys": 4, "mug": 4})
    assert evaluate(data, tiny_model, way=2, shots=2, tasks=2).head == "auto"
    assert evaluate(data, tiny_model, way=2, shots=2, tasks=2, head="ridge").head == "ridge"


def test_no_query_label_is_seen_while_adapting() -> None:
    """Whatever the labels of the queries, the predictions stay: only the score changes."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((40, 8)).astype(np.float32)
    pools = tuple(tuple(range(10 * c, 10 * c + 10)) for c in range(4))
    source = Source("made", tuple("abcd"), pools)
    fits = {head: baselines.named_head(head) for head in ("cosine", "euclidean", "ridge", "auto")}
    fits |= {"linear": baselines.logistic_probe}
    fits |= {"finetune": baselines.finetuned_head(BASELINES["finetune"])}
    episode = sample_fixed(source, 4, 5, 5, 0, 1)
    for fit in fits.values():
        solver = FrozenFeatures(features, fit)
        shares = [
            solve_task(solver, Episode(**{**vars(episode), "query_labels": np.full(20, c)}))[0]
            for c in range(4)
        ]
        assert sum(shares) == pytest.approx(1.0)


def test_classes_with_too_few_photos_are_counted(
    tiny_model: Model, write_objects: Callable[..., Path]
) -> None:
    data = write_objects({"keys": 9, "mug": 5, "bowl": 4, "wallet": 2})
    counts = [
        evaluate(data, tiny_model, way=2, shots=shots, tasks=1).short_classes
        for shots in (1, 2, 3, 4, 5)
    ]
    assert counts == [0, 1, 1, 2, 3]
    clutter = Source("P1", ("a", "b"), ((1, 2), (3,)), ((4,), (5,)))
    assert [evaluation.short_classes(clutter, shots) for shots in (1, 2, 3)] == [0, 1, 2]
