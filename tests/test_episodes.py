"""Episodes: pure functions of (seed, k), never a photo twice, always a photo of every class."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litecli.config import EpisodeConfig
from litecli.tasks.episodes import Episode, Source, hold_out_classes, sample_episode, sample_fixed


def source(sizes: list[int], name: str = "things", queries: list[int] | None = None) -> Source:
    """A source of classes with so many photos, numbered through; `queries`: a pool of their own."""
    ends = np.cumsum([0, *sizes, *(queries or [])]).tolist()
    pools = tuple(tuple(range(a, b)) for a, b in pairwise(ends))
    names = tuple(f"{name} {c}" for c in range(len(sizes)))
    return Source(name, names, pools[: len(sizes)], pools[len(sizes) :] if queries else None)


def same(one: Episode, other: Episode) -> bool:
    return all(
        np.array_equal(getattr(one, part), getattr(other, part))
        for part in ("support", "support_labels", "query", "query_labels")
    )


def class_of(where: Source, number: int) -> int:
    pools = [*where.support, *(where.query or ())]
    return next(c for c, pool in enumerate(pools) if number in pool) % len(where.support)


def check_sound(where: Source, episode: Episode) -> None:
    """No photo twice; labels without a gap, in both sets; one class of the source per label."""
    everything = np.concatenate([episode.support, episode.query])
    assert len(set(everything.tolist())) == len(everything)
    assert set(episode.support_labels) == set(episode.query_labels) == set(range(episode.way))
    numbers = zip(everything, [*episode.support_labels, *episode.query_labels], strict=True)
    pairs = {(int(label), class_of(where, int(number))) for number, label in numbers}
    assert len(pairs) == episode.way == len({c for _, c in pairs})


def test_an_episode_is_a_pure_function_of_seed_and_number() -> None:
    sources = [source([9] * 12), source([7] * 8, "others")]
    config = EpisodeConfig(way_min=3, way_max=8)
    ordered = [sample_episode(sources, config, 5, k) for k in range(20)]
    for k in reversed(range(20)):
        assert same(ordered[k], sample_episode(sources, config, 5, k))
    for change in (1, 2, 3):
        assert not same(ordered[0], ordered[change])
        assert not same(ordered[0], sample_episode(sources, config, 5 + change, 0))
    assert {episode.source for episode in ordered} == {"things", "others"}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=15),
    way=st.tuples(st.integers(2, 20), st.integers(2, 20)).map(sorted),
    most=st.integers(1, 60),
    query=st.integers(1, 12),
    k=st.integers(0, 999),
)
def test_any_collection_gives_sound_episodes(
    sizes: list[int], way: list[int], most: int, query: int, k: int
) -> None:
    where = source(sizes)
    config = EpisodeConfig(way_min=way[0], way_max=way[1], support_max=most, query=query)
    episode = sample_episode([where], config, 0, k)
    check_sound(where, episode)
    assert len(episode.support) <= most
    assert min(way[0], len(sizes), most) <= episode.way <= way[1]
    assert len(set(np.bincount(episode.query_labels))) == 1
    assert len(episode.query) <= query * episode.way


def test_a_class_keeps_its_query_photos_however_much_support_is_wanted() -> None:
    where = source([4, 4, 4, 4, 30])
    config = EpisodeConfig(way_min=5, way_max=5, query=2)
    most = 0
    for k in range(300):
        episode = sample_episode([where], config, 0, k)
        check_sound(where, episode)
        assert np.bincount(episode.query_labels).tolist() == [2] * 5
        most = max(most, int(np.bincount(episode.support_labels)[0]))
    assert most == 2  # the limit was met


def test_way_and_shots_vary_and_keep_to_their_bounds() -> None:
    where = source([30] * 20)
    config = EpisodeConfig(way_min=4, way_max=9, support_min=12, support_max=60, query=5)
    episodes = [sample_episode([where], config, 1, k) for k in range(200)]
    assert {episode.way for episode in episodes} == set(range(4, 10))
    shots = [np.bincount(episode.support_labels) for episode in episodes]
    assert any(count.min() < count.max() for count in shots)
    assert max(count.sum() for count in shots) <= 60


@pytest.mark.parametrize("least", [10, 33, 60])
def test_a_task_has_no_fewer_support_photos_than_asked(least: int) -> None:
    """The sampler of Meta-Dataset rounds down in every class; a lower bound is met all the same."""
    config = EpisodeConfig(way_min=5, way_max=5, support_min=least, support_max=60, query=3)
    rich, poor = source([40] * 8), source([9] * 8)
    sizes = [len(sample_episode([rich], config, 2, k).support) for k in range(100)]
    assert min(sizes) == least and max(sizes) <= 60
    for k in range(20):  # where classes have no more, the task takes what there is
        episode = sample_episode([poor], config, 2, k)
        check_sound(poor, episode)
        assert len(episode.support) >= min(least, 5 * (9 - 3))


def test_orbit_queries_come_from_the_query_pool() -> None:
    where = source([1, 6, 20], queries=[4, 1, 9])
    for k in range(30):
        for episode in (
            sample_episode([where], EpisodeConfig(way_min=2, way_max=3), 0, k),
            sample_fixed(where, 3, 5, 2, 0, k),
        ):
            check_sound(where, episode)
            assert episode.support.max() < 27 <= episode.query.min()


@pytest.mark.parametrize(("size", "shots", "queries"), [(10, 5, 3), (6, 5, 1), (3, 2, 1)])
def test_evaluation_tasks_have_exact_shots_where_photos_allow(
    size: int, shots: int, queries: int
) -> None:
    where = source([size] * 6)
    episode = sample_fixed(where, 4, 5, 3, 2, 7)
    check_sound(where, episode)
    assert np.bincount(episode.support_labels).tolist() == [shots] * 4
    assert np.bincount(episode.query_labels).tolist() == [queries] * 4
    assert same(episode, sample_fixed(where, 4, 5, 3, 2, 7))
    assert not same(episode, sample_fixed(where, 4, 5, 3, 2, 8))


def test_held_out_classes_are_nobodys_training() -> None:
    sources = [source([4] * 40), source([4] * 14, "small"), source([4] * 15, "just enough")]
    training, validation = hold_out_classes(sources, 0.2, seed=3)
    assert [len(s.classes) for s in training] == [32, 14, 10]
    assert [len(s.classes) for s in validation] == [8, 5]
    for part in validation:
        rest = next(s for s in training if s.name == part.name)
        assert not set(part.classes) & set(rest.classes)
        assert not {n for p in part.support for n in p} & {n for p in rest.support for n in p}
    assert hold_out_classes(sources, 0.2, seed=3) == (training, validation)
    assert hold_out_classes(sources, 0.2, seed=4)[1] != validation
