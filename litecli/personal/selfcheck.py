"""The check of a support set by itself: each photo is named by a head that never saw it.

Leave-one-out costs no forward pass. It pays for the check table, the mix-up notes, the temperature
and the unknown threshold, the forecast, and the rate of strangers taken for an object.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from litecli.heads import confidence
from litecli.heads.choice import choose_head
from litecli.heads.head import Head, Options
from litecli.heads.heads import HEADS
from litecli.heads.labelled import Basis, Eigenbases, distinct, eigenbasis
from litecli.heads.ridge import USUAL_LAMBDA
from litecli.personal import same_shot
from litecli.personal.advice import ENOUGH, photos_of

FEW_VIEWS = 6  # objects with no more views than this are held out in step
FORECAST_PHOTOS = 10  # the forecast says: so many of FORECAST_PHOTOS new photos right
FORECAST_Z = 1.28  # normal quantile of a two-sided 80 % interval


@dataclass(frozen=True)
class Check:
    """What the leave-one-out check of N photos of C objects found."""

    head: Head
    options: Options  # what the head is fitted with
    temperature: float
    unknown_threshold: float
    groups: np.ndarray  # int64 [N]; photos of one group are one view and are held out together
    named: np.ndarray  # int64 [N], the object each photo was taken for; -1 = could not be checked
    correct: np.ndarray  # int64 [C], photos named right
    total: np.ndarray  # int64 [C], photos that could be checked
    forecast: tuple[int, int]  # of FORECAST_PHOTOS new photos, so many will be right
    false_accepts: dict[str, float]

    def to_dict(self, labels: tuple[str, ...], paths: tuple[str, ...]) -> dict[str, Any]:
        """The JSON-ready form that a profile keeps."""
        correct, total = int(self.correct.sum()), int(self.total.sum())
        return {
            "correct": correct,
            "total": total,
            "accuracy": correct / total if total else None,
            "objects": [
                {"label": label, "correct": int(right), "total": int(of)}
                for label, right, of in zip(labels, self.correct, self.total, strict=True)
            ],
            "named": {
                path: labels[index]
                for path, index in zip(paths, self.named, strict=True)
                if 0 <= index < len(labels)
            },
            "forecast": list(self.forecast),
            "false_accepts": self.false_accepts,
        }


def turns(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Group number int64 [N] of the photos to hold out together, given the views `groups` [N].

    One view at a time, but objects with 2 to FEW_VIEWS views take turns: all their first views are
    held out together, then all their second ones. Else an object with one of its two photos held
    out would stand against others with both, and lose more often than with a new photo.
    """
    together = groups.copy()
    for label in distinct(labels):
        members = np.flatnonzero(labels == label)
        own_views = distinct(groups[members])
        if 2 <= len(own_views) <= FEW_VIEWS:
            together[members] = len(labels) + np.searchsorted(own_views, groups[members])
    return together


def check_support(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    greys: np.ndarray,
    head: Head | None = None,
    strangers: np.ndarray | None = None,
    crops: np.ndarray | None = None,
) -> Check:
    """Check a support set: features float32 [N, D], labels int64 [N] of every class 0..C-1.

    `greys` int8 [N, 256] tell bursts (same_shot.py). `head` None: the one of heads.heads.HEADS
    that is better in this very check. `strangers` [K, D] are features of other things, for
    `false_accepts`; `crops` [N, V, D] those of parts of the photos.
    """
    groups = same_shot.views(greys, labels)
    basis = Eigenbases()  # each of the questions below is asked of the same photos
    threshold = confidence.unknown_threshold(features, labels, groups, strangers, basis, crops)
    if num_classes == 1:
        # One object has nothing to be mixed up with: the check is whether it is known at all.
        head = head or HEADS["cosine"]
        options = Options(strength=0.0, lam=USUAL_LAMBDA)
        temperature = 1.0
        level, _ = confidence.held_out_novelty(features, labels, groups, basis, crops)
        # 0 = known without its own view, 1 = called unknown, -1 = there is no other view
        named = np.where(np.isnan(level), -1, (level > threshold).astype(np.int64))
    else:
        if head is None:
            head, options = choose_head(features, labels, num_classes, groups, crops, basis)
        else:
            options = head.options(
                features, labels, num_classes, groups=groups, crops=crops, basis=basis
            )
        together = turns(labels, groups)
        scores = head.leave_one_out(
            features, labels, num_classes, groups=together, crops=crops, basis=basis, **options
        )
        temperature = confidence.fit_temperature(scores, labels)
        own = scores[np.arange(len(labels)), labels]
        named = np.where(np.isfinite(own), scores.argmax(1), -1)
    checked = named >= 0
    return Check(
        head=head,
        options=options,
        temperature=float(temperature),
        unknown_threshold=float(threshold),
        groups=groups,
        named=named,
        correct=np.bincount(labels[named == labels], minlength=num_classes),
        total=np.bincount(labels[checked], minlength=num_classes),
        forecast=forecast(labels, groups, named),
        false_accepts=false_accepts(features, labels, threshold, strangers, basis, crops),
    )


def forecast(labels: np.ndarray, groups: np.ndarray, named: np.ndarray) -> tuple[int, int]:
    """How many of 10 new photos will be named right: a range (low, high), two-sided 80 %.

    The interval around `expected_accuracy` is Wilson's (1927), on views rather than photos: a
    burst is one piece of evidence. Half a view of each object is taken off, for the extrapolation
    that few views need. An object that could not be checked may be right only half as often, at
    the low end. Nothing could be checked: (0, 10).
    """
    accuracy = expected_accuracy(labels, groups, named)
    if accuracy is None:
        return 0, FORECAST_PHOTOS
    checked = named >= 0
    evidence = len(distinct(groups[checked])) - len(distinct(labels[checked])) / 2
    spread = FORECAST_Z**2 / evidence
    centre = (accuracy + spread / 2) / (1 + spread)
    half = math.sqrt(accuracy * (1 - accuracy) * spread + spread**2 / 4) / (1 + spread)
    share_checked = len(distinct(labels[checked])) / len(distinct(labels))
    low = (centre - half) * (1 + share_checked) / 2
    return round(FORECAST_PHOTOS * max(low, 0.0)), round(FORECAST_PHOTOS * min(centre + half, 1.0))


def expected_accuracy(labels: np.ndarray, groups: np.ndarray, named: np.ndarray) -> float | None:
    """The share of new photos that will be named right; None when no photo could be checked.

    The mean over the objects of their held-out accuracy. That is pessimistic: a photo of an object
    with v views was named from v - 1 of them. The last view takes a share 2.5 (1 - e)^2 / v^2 of
    an object's errors away, e being the mean held-out error: less the more views there were, and
    less where photos cannot be told apart at all. An object that could not be checked is expected
    to be mistaken twice as often as the others. (The form was chosen on caltech101, cards and
    textures; tests/benchmarks/forecast.py measures what it gives.)
    """
    errors, num_views = [], []
    for label in distinct(labels[named >= 0]):
        checked = (labels == label) & (named >= 0)
        num_views.append(len(distinct(groups[checked])))
        errors.append(np.mean(named[checked] != label))
    if not errors:
        return None
    mean, views_each = float(np.mean(errors)), np.maximum(num_views, 2)
    expected = errors * (1 - 2.5 * (1 - mean) ** 2 / views_each**2)
    objects = len(distinct(labels))
    total = np.sum(expected) + (objects - len(errors)) * min(2 * float(np.mean(expected)), 1.0)
    return 1 - float(total) / objects


def notes(
    check: Check, labels: np.ndarray, names: tuple[str, ...], paths: tuple[str, ...], index: int
) -> list[str]:
    """What a person should know of object number `index`: advice, bursts and mix-ups."""
    mine = np.flatnonzero(labels == index)
    lines = []
    if len(mine) <= 2:
        lines.append(f"{photos_of(len(mine))}: add {ENOUGH - len(mine)} more from other sides")
    burst = Counter(check.groups[mine].tolist()).most_common(1)[0][1]
    if burst >= 3 or burst == len(mine) > 1:
        lines.append(f"{burst} photos are nearly the same shot (about 1 view); move around it")
    for other in sorted(set(check.named[mine].tolist())):
        wrong = mine[check.named[mine] == other]
        if other in (-1, index):
            continue
        shown = ", ".join(paths[photo] for photo in wrong[:3]) + (", ..." if wrong.size > 3 else "")
        if other >= len(names):
            lines.append(f"{photos_of(wrong.size)} may be called unknown: {shown}")
        else:
            verb = "looks" if wrong.size == 1 else "look"
            lines.append(f'{photos_of(wrong.size)} {verb} more like "{names[other]}": {shown}')
    return lines


def false_accepts(
    features: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    strangers: np.ndarray | None = None,
    basis: Basis = eigenbasis,
    crops: np.ndarray | None = None,
) -> dict[str, float]:
    """The share of strangers that will be taken for an object, near and far.

    `withheld_objects`: each object in turn is taken out and shown as a stranger. One's own objects
    resemble each other more than things at large do, so this stands for look-alikes. There are
    C - 1 objects to take it for instead of C, which makes it rarer: rates grow by a third of what
    they would if each object were a chance of its own. Left out where two photos are all.
    `other_things`: of the given strangers [K, D], photos or drawings of anything at all.
    """
    rates = {}
    num_classes = int(labels.max()) + 1
    if num_classes > 1 and len(labels) > 2:
        _, strange = confidence.held_out_novelty(features, labels, labels, basis, crops)
        accepted = [np.mean(strange[labels == label] <= threshold) for label in range(num_classes)]
        refused = 1 - float(np.mean(accepted))
        rates["withheld_objects"] = round(1 - refused ** (1 + 1 / (3 * num_classes)), 4)
    if strangers is not None:
        level = confidence.novelty(strangers, features, labels, basis, crops)
        rates["other_things"] = round(float(np.mean(level <= threshold)), 4)
    return rates
