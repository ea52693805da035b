"""Which photos deserve a look, misplaced or alike or strange or doubled, and what is counted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from litecli.personal.findings import OwnPhotos, Picture, concerns
from litecli.personal.report import report

from .small_library import make_profile

NAMES = ("bowl", "cup", "mug")


def own_photos(
    labels: Sequence[int],
    cosines: Sequence[float] | None = None,
    taken: dict[int, str] | None = None,
    shots: Sequence[int] | None = None,
    notes: dict[int, list[str]] | None = None,
) -> OwnPhotos:
    """Photos with such cosines to the first one, each its own shot, taken so in the check."""
    number = len(labels)
    along = np.ones(number) if cosines is None else np.array(cosines)
    rng = np.random.default_rng(0)
    every = rng.integers(-64, 64, (number, 256)).astype(np.int8)
    paths = tuple(f"{NAMES[label]}/{n}.jpg" for n, label in enumerate(labels))
    hashes = tuple(f"{n:064}" for n in range(number))
    profile = replace(
        make_profile(),
        labels=NAMES[: max(labels) + 1],
        photo_paths=paths,
        photo_hashes=hashes,
        photo_labels=np.array(labels),
        embeddings=np.stack([along, np.sqrt(1 - along**2)], axis=1).astype(np.float32),
        greys=every[list(range(number) if shots is None else shots)],
        check={
            "named": {paths[n]: name for n, name in (taken or {}).items()},
            "photo_notes": {hashes[n]: said for n, said in (notes or {}).items()},
        },
    )
    return OwnPhotos(profile)


def found(own: OwnPhotos, novelty: Sequence[float] = ()) -> dict[str, list[list[int]]]:
    """Kind of concern -> the photos of each finding."""
    level = np.array(novelty) if novelty else np.zeros(len(own.labels))
    return {
        concern.kind: [[place(own, one) for one in each.pictures] for each in concern.findings]
        for concern in concerns(own, level)
    }


def place(own: OwnPhotos, picture: Picture | None) -> int:
    assert picture is not None
    return own.pictures.index(picture)


@pytest.mark.parametrize(
    ("labels", "cosines", "shots", "kind"),
    [
        # 0.9 to the three nearest cups, and 0.6 or 0.8 to the nearest bowl
        ((0, 0, 0, 1, 1, 1, 1, 1), (1, 0.6, 0.2, 0.9, 0.9, 0.9, 0, 0), None, "mislabelled"),
        ((0, 0, 0, 1, 1, 1, 1, 1), (1, 0.8, 0.2, 0.9, 0.9, 0.9, 0, 0), None, "mixed up"),
        # the nearest bowl shows the same shot
        ((0, 0, 0, 1, 1, 1), (1, 1, 0.6, 0.9, 0.9, 0.9), (0, 0, 2, 3, 4, 5), "mislabelled"),
        # the bowl points the other way
        ((0, 0, 1, 1), (1, -0.2, 0.05, 0.05), None, "mislabelled"),
    ],
)
def test_a_mistaken_photo_is_misplaced_if_clearly_more_like_the_other_object(
    labels: tuple[int, ...], cosines: tuple[float, ...], shots: tuple[int, ...] | None, kind: str
) -> None:
    told = found(own_photos(labels, cosines, {0: "cup"}, shots))
    assert {name: told.get(name) for name in ("mislabelled", "mixed up")} == {
        "mislabelled": None,
        "mixed up": None,
        kind: [[0]],
    }


def test_a_mistaken_photo_is_shown_beside_the_nearest_of_what_it_was_taken_for() -> None:
    own = own_photos((0, 0, 1, 1, 2), (1, 0.5, 0.7, 0.8, 0.9), {0: "cup", 1: "bowl"})
    [concern] = concerns(own, np.zeros(5))
    [finding] = concern.findings
    assert finding.says == "bowl, or cup?" and place(own, finding.like) == 3


def test_the_strangest_photo_is_shown_first_unless_more_is_known_of_it() -> None:
    own = own_photos((0, 0, 0, 1, 1, 1), taken={3: "bowl"}, notes={4: ["dark"]})
    told = found(own, (0.5, 0.9, 0.3, 0.8, 0.7, 0.6))  # unknown above 0.3
    assert told["doubtful"] == [[1], [5], [0]]
    assert told["mixed up"] == [[3]] and told["dark"] == [[4]]


def test_the_longest_burst_is_shown_first() -> None:
    own = own_photos((0, 0, 0, 1, 1, 1), shots=(0, 1, 0, 3, 3, 3))
    assert found(own)["same shot"] == [[3, 4, 5], [0, 2]]


def test_a_photo_that_was_not_checked_is_not_mistaken() -> None:
    assert found(own_photos((0, 1), (1, 0))) == {}


def test_an_object_has_as_many_views_as_shots_and_its_findings_count_their_photos() -> None:
    cosines = (1, 0.99, 0.98, 0.97, 0, 0.1, 0.05, 0.2)
    own = own_photos((0, 0, 0, 0, 1, 1, 1, 1), cosines, shots=(0, 0, 0, 3, 4, 5, 6, 7))
    told = report(own.profile)
    assert [(one.photos, one.views) for one in told.objects] == [(4, 2), (4, 4)]
    assert [one.findings.get("same shot") for one in told.objects] == [3, None]


def test_a_stranger_is_a_photo_without_its_object() -> None:
    own = own_photos((0, 0, 0, 1, 1, 1), (1, 0.99, 0.98, 0, 0.1, 0.05))
    unknown = report(own.profile).unknown
    assert len(unknown.own) == len(unknown.strangers) == 6
    assert unknown.own.max() < unknown.strangers.min()


def test_what_was_mixed_up_most_is_told_first() -> None:
    cosines = (1, 0.99, 0.98, 0, 0.1, 0.05)
    own = own_photos((0, 0, 0, 1, 1, 1), cosines, {0: "cup", 3: "bowl", 4: "bowl"})
    told = [(one.label, one.other, one.photos) for one in report(own.profile).mix_ups]
    assert told == [("cup", "bowl", 2), ("bowl", "cup", 1)]
