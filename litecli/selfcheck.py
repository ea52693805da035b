"""The check of a support set by itself: each photo is named by a head that never saw it.

Leave-one-out costs no forward pass. It pays for the check table, the mix-up notes, the temperature
and the unknown threshold, the forecast, and the rate of strangers taken for an object.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from litecli import confidence
from litecli.heads import HEADS, Options, choose_head

LOOK_SIDE = 16  # a look is the photo as LOOK_SIDE x LOOK_SIDE greys
SAME_SHOT = 0.97  # correlation of two looks above which they are one view: a burst
FORECAST_PHOTOS = 10  # the forecast says: so many of FORECAST_PHOTOS new photos right
FORECAST_Z = 1.28  # normal quantile of a two-sided 80 % interval


@dataclass(frozen=True)
class Check:
    """What the leave-one-out check of N photos of C objects found."""

    head: str
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


def look(pixels: np.ndarray) -> np.ndarray:
    """A network input float32 [3, S, S] as greys int8 [256], of mean 0 and 32 per deviation."""
    side = pixels.shape[-1] // LOOK_SIDE * LOOK_SIDE
    cell = max(side // LOOK_SIDE, 1)
    square = pixels.mean(0)[: cell * LOOK_SIDE, : cell * LOOK_SIDE]
    grey = square.reshape(LOOK_SIDE, cell, LOOK_SIDE, cell).mean((1, 3)).reshape(-1)
    grey = (grey - grey.mean()) / max(float(grey.std()), 1e-3)
    return np.rint(np.clip(grey * 32, -127, 127)).astype(np.int8)


def views(looks: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Group number int64 [N] of looks int8 [N, 256]: bursts of one object share a number.

    Two photos of an object whose looks correlate above SAME_SHOT are one view, and so are the
    photos linked through others.
    """
    unit = looks.astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1.0)
    groups = np.arange(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        linked = unit[members] @ unit[members].T > SAME_SHOT
        for row, first in zip(linked, members, strict=True):
            joined = groups[members[row]]
            if len(joined) > 1:
                groups[np.isin(groups, joined)] = min(int(joined.min()), int(groups[first]))
    return groups


def check_support(
    features: np.ndarray, labels: np.ndarray, num_classes: int, looks: np.ndarray, head: str
) -> Check:
    """Check a support set: features float32 [N, D], labels int64 [N] of every class 0..C-1.

    `head` is a key of heads.HEADS or "auto", the better one of them in this very check.
    """
    groups = views(looks, labels)
    threshold = confidence.unknown_threshold(features, labels, groups)
    if num_classes == 1:
        # One object has nothing to be mixed up with: the check is whether it is known at all.
        head = "cosine" if head == "auto" else head
        options = Options(strength=0.0, lam=0.1)
        temperature = 1.0
        named = _known_without(features, labels, groups, threshold)
    else:
        if head == "auto":
            head = choose_head(features, labels, num_classes, groups)
        options = HEADS[head].options(features, labels, num_classes, groups=groups)
        scores = HEADS[head].leave_one_out(features, labels, num_classes, groups=groups, **options)
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
        false_accepts=_false_accepts(features, labels, num_classes, threshold),
    )


def forecast(labels: np.ndarray, groups: np.ndarray, named: np.ndarray) -> tuple[int, int]:
    """How many of 10 new photos will be named right: a range (low, high), two-sided 80 %.

    The accuracy is the mean over the objects of their leave-one-out accuracy. It is pessimistic:
    a photo of an object with v views was named from v - 1 of them. Error falls about with the
    square root of the views, so each object's errors count sqrt((v - 1) / v). The interval is
    Wilson's (1927), on views rather than photos, because a burst is one piece of evidence.
    (0, 10) when nothing could be checked.
    """
    errors, weight = [], 0.0
    for label in np.unique(labels):
        checked = (labels == label) & (named >= 0)
        num_views = len(np.unique(groups[checked]))
        if num_views:
            error = float(np.mean(named[checked] != label))
            errors.append(error * math.sqrt(max(num_views - 1, 0) / num_views))
            weight += num_views
    if not errors:
        return 0, FORECAST_PHOTOS
    accuracy = 1 - float(np.mean(errors))
    spread = FORECAST_Z**2 / weight
    centre = (accuracy + spread / 2) / (1 + spread)
    half = math.sqrt(accuracy * (1 - accuracy) * spread + spread**2 / 4) / (1 + spread)
    low = round(FORECAST_PHOTOS * max(centre - half, 0.0))
    return low, round(FORECAST_PHOTOS * min(centre + half, 1.0))


def notes(
    check: Check, labels: np.ndarray, names: tuple[str, ...], paths: tuple[str, ...], index: int
) -> list[str]:
    """What a person should know of object number `index`: advice, bursts and mix-ups."""
    mine = np.flatnonzero(labels == index)
    lines = []
    if len(mine) <= 2:
        lines.append(f"{_photos(len(mine))}: add {5 - len(mine)} more from other sides")
    burst = Counter(check.groups[mine].tolist()).most_common(1)[0][1]
    if burst >= 3 or burst == len(mine) > 1:
        lines.append(f"{burst} photos are nearly the same shot (about 1 view); move around it")
    for other in np.unique(check.named[mine]):
        wrong = mine[check.named[mine] == other]
        if other in (-1, index):
            continue
        shown = ", ".join(paths[photo] for photo in wrong[:3]) + (", ..." if wrong.size > 3 else "")
        if other >= len(names):
            lines.append(f"{_photos(wrong.size)} may be called unknown: {shown}")
        else:
            verb = "looks" if wrong.size == 1 else "look"
            lines.append(f'{_photos(wrong.size)} {verb} more like "{names[other]}": {shown}')
    return lines


def _known_without(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, threshold: float
) -> np.ndarray:
    """One object: 0 = known without its own view, 1 = called unknown, -1 = no other view."""
    named = np.full(len(labels), -1, dtype=np.int64)
    for photo in range(len(labels)):
        rest = groups != groups[photo]
        if rest.any():
            query = features[photo : photo + 1]
            strange = confidence.novelty(query, features[rest], labels[rest])[0] > threshold
            named[photo] = int(strange)
    return named


def _false_accepts(
    features: np.ndarray, labels: np.ndarray, num_classes: int, threshold: float
) -> dict[str, float]:
    """Each object in turn is taken out and shown as a stranger: the share taken for another.

    One's own objects resemble each other more than things at large do, so this stands for close
    look-alikes. Empty when there is only one object.
    """
    if num_classes < 2:
        return {}
    rates = []
    for label in range(num_classes):
        mine = labels == label
        others = np.unique(labels[~mine], return_inverse=True)[1]
        strange = confidence.novelty(features[mine], features[~mine], others)
        rates.append(float(np.mean(strange <= threshold)))
    return {"withheld_objects": round(float(np.mean(rates)), 4)}


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"
