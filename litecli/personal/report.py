"""What a person should know of a profile: the facts behind `litecli report`, as plain data.

Everything comes from the profile itself (its check, features, greys and thumbnails), so no photo
and no model is needed. report_page.py makes the page.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np

from litecli.heads import confidence
from litecli.heads.labelled import Eigenbases, distinct
from litecli.library.profile import Profile
from litecli.personal import selfcheck
from litecli.personal.advice import Advice, ObjectFacts, advice
from litecli.personal.findings import Concern, OwnPhotos, Picture, concerns

TOO_FEW = (0, selfcheck.FORECAST_PHOTOS)  # the forecast where nothing could be checked


@dataclass(frozen=True)
class MixUp:
    """So many photos of `label` were taken for `other` in the check."""

    label: str
    other: str
    photos: int


@dataclass(frozen=True)
class Unknown:
    """Novelty of the person's photos, as the objects they are and as strangers; see confidence."""

    threshold: float  # unknown above it
    own: np.ndarray  # float64 [<= N], each photo hidden in turn
    strangers: np.ndarray  # float64 [<= N], each photo met by the other objects alone


@dataclass(frozen=True)
class Report:
    """Everything the page of a profile says."""

    name: str
    model: str
    tuned: bool  # FiLM: the network was tuned to these very photos
    num_photos: int
    has_pictures: bool
    objects: tuple[ObjectFacts, ...]
    pictures: tuple[tuple[Picture, ...], ...]  # of each object
    correct: int  # photos named right in the check
    checked: int
    forecast: tuple[int, int] | None  # of 10 new photos; None: too few photos to say
    mix_ups: tuple[MixUp, ...]  # most photos first
    concerns: tuple[Concern, ...]
    left_out: tuple[tuple[str, str], ...]  # path, reason
    left_out_total: int  # with those that the profile does not name
    advice: tuple[Advice, ...]  # most useful first
    unknown: Unknown


def report(profile: Profile) -> Report:
    """The facts of a profile; what is in it was checked when it was read."""
    photos = OwnPhotos(profile)
    novelty = partial(
        confidence.held_out_novelty,
        profile.embeddings,
        photos.labels,
        basis=Eigenbases(),
        crops=profile.crops,
    )
    (own, _), (_, strange) = novelty(photos.groups), novelty(photos.labels)
    found = concerns(photos, own)
    objects = _objects(photos, found)
    mix_ups = _mix_ups(photos)
    left_out = tuple((str(path), str(why)) for path, why in profile.check.get("left_out", ()))
    low, high = (int(end) for end in profile.check.get("forecast", TOO_FEW))
    return Report(
        name=profile.name,
        model=profile.model_name,
        tuned=bool(profile.film),
        num_photos=len(photos.pictures),
        has_pictures=any(picture.jpeg for picture in photos.pictures),
        objects=objects,
        pictures=tuple(
            tuple(photos.pictures[n] for n in np.flatnonzero(photos.labels == index))
            for index in range(len(objects))
        ),
        correct=sum(one.correct for one in objects),
        checked=sum(one.checked for one in objects),
        forecast=None if (low, high) == TOO_FEW else (low, high),
        mix_ups=mix_ups,
        concerns=found,
        left_out=left_out,
        left_out_total=len(left_out) + int(profile.check.get("left_out_more", 0)),
        advice=advice(objects, [(one.label, one.other, one.photos) for one in mix_ups]),
        unknown=Unknown(
            profile.unknown_threshold, own[np.isfinite(own)], strange[np.isfinite(strange)]
        ),
    )


def _objects(photos: OwnPhotos, found: tuple[Concern, ...]) -> tuple[ObjectFacts, ...]:
    checks = {entry["label"]: entry for entry in photos.profile.check.get("objects", ())}
    kinds: dict[str, Counter[str]] = {label: Counter() for label in photos.profile.labels}
    for concern in found:
        for finding in concern.findings:
            kinds[finding.pictures[0].label][concern.kind] += len(finding.pictures)
    return tuple(
        ObjectFacts(
            label=label,
            photos=int(np.sum(photos.labels == index)),
            views=len(distinct(photos.groups[photos.labels == index])),
            correct=int(checks.get(label, {}).get("correct", 0)),
            checked=int(checks.get(label, {}).get("total", 0)),
            findings=dict(kinds[label]),
        )
        for index, label in enumerate(photos.profile.labels)
    )


def _mix_ups(photos: OwnPhotos) -> tuple[MixUp, ...]:
    names = photos.profile.labels
    pairs = Counter((names[photos.labels[n]], names[photos.named[n]]) for n in photos.wrong)
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return tuple(MixUp(label, other, count) for (label, other), count in ranked)
