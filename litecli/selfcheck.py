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
from litecli.heads import HEADS, Head, Options, choose_head

LOOK_SIDE = 16  # a look is the photo as LOOK_SIDE x LOOK_SIDE greys
SAME_SHOT = 0.97  # correlation of two looks above which they are one view: a burst
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


def look(pixels: np.ndarray) -> np.ndarray:
    """A network input float32 [3, S, S], S >= 16, as greys int8 [256]: mean 0, deviation 32."""
    cell = pixels.shape[-1] // LOOK_SIDE
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
        for row in linked:
            joined = groups[members[row]]
            if len(joined) > 1:
                groups[np.isin(groups, joined)] = joined.min()
    return groups


def check_support(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    looks: np.ndarray,
    head: Head | None = None,
) -> Check:
    """Check a support set: features float32 [N, D], labels int64 [N] of every class 0..C-1.

    `head` None: the one of heads.HEADS that is better in this very check.
    """
    groups = views(looks, labels)
    threshold = confidence.unknown_threshold(features, labels, groups)
    if num_classes == 1:
        # One object has nothing to be mixed up with: the check is whether it is known at all.
        head = head or HEADS["cosine"]
        options = Options(strength=0.0, lam=0.1)
        temperature = 1.0
        level, _ = confidence.held_out_novelty(features, labels, groups)
        # 0 = known without its own view, 1 = called unknown, -1 = there is no other view
        named = np.where(np.isnan(level), -1, (level > threshold).astype(np.int64))
    else:
        head = head or HEADS[choose_head(features, labels, num_classes, groups)]
        options = head.options(features, labels, num_classes, groups=groups)
        scores = head.leave_one_out(features, labels, num_classes, groups=groups, **options)
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

    The accuracy is the mean over the objects of their leave-one-out accuracy. That is pessimistic:
    a photo of an object with v views was named from v - 1 of them, so each object's errors count
    (v - 1) / v. Measured on three collections, errors on new photos were 0.39 (v = 2), 0.67 (3),
    0.75 (5) and 0.83 (10) of the leave-one-out errors, and the range held 85 to 95 % of the time.
    The interval is Wilson's (1927), on views rather than photos: a burst is one piece of evidence.
    An object that could not be checked may be right only half as often, at the low end.
    """
    errors, num_views = [], 0
    objects = np.unique(labels)
    for label in objects:
        checked = (labels == label) & (named >= 0)
        if checked.any():
            views_here = len(np.unique(groups[checked]))
            error = float(np.mean(named[checked] != label))
            errors.append(error * (views_here - 1) / views_here)
            num_views += views_here
    if not errors:
        return 0, FORECAST_PHOTOS
    accuracy = 1 - float(np.mean(errors))
    spread = FORECAST_Z**2 / num_views
    centre = (accuracy + spread / 2) / (1 + spread)
    half = math.sqrt(accuracy * (1 - accuracy) * spread + spread**2 / 4) / (1 + spread)
    low = (centre - half) * (1 + len(errors) / len(objects)) / 2
    return round(FORECAST_PHOTOS * max(low, 0.0)), round(FORECAST_PHOTOS * min(centre + half, 1.0))


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


def _false_accepts(
    features: np.ndarray, labels: np.ndarray, num_classes: int, threshold: float
) -> dict[str, float]:
    """Each object in turn is taken out and shown as a stranger: the share taken for another.

    One's own objects resemble each other more than things at large do, so this stands for close
    look-alikes. Empty when there is only one object.
    """
    if num_classes < 2:
        return {}
    _, strange = confidence.held_out_novelty(features, labels, groups=labels)
    rates = [np.mean(strange[labels == label] <= threshold) for label in range(num_classes)]
    return {"withheld_objects": round(float(np.mean(rates)), 4)}


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"
