"""What to photograph next: the plain advice of `litecli report`, the most useful first."""

from collections.abc import Sequence
from dataclasses import dataclass, field

ENOUGH = 5  # different views of an object; more still help, but less
RETAKE = ("blurred", "dark", "bright", "very small")


@dataclass(frozen=True)
class ObjectFacts:
    """What is known of one object's photos."""

    label: str
    photos: int
    views: int  # photos that are nearly the same shot count once
    correct: int  # named right in the check, of `checked` photos
    checked: int
    findings: dict[str, int] = field(default_factory=dict)  # kind of concern -> photos


@dataclass(frozen=True)
class Advice:
    """One thing to do for these objects, and why."""

    labels: tuple[str, ...]
    do: str
    why: str


def advice(
    objects: Sequence[ObjectFacts], mix_ups: Sequence[tuple[str, str, int]]
) -> tuple[Advice, ...]:
    """Advice for objects whose photos were mixed up so often: (label, other, photos)."""
    lone = [one for one in objects if one.views == 1]
    few = sorted((one for one in objects if 1 < one.views < ENOUGH), key=lambda one: one.views)
    return (
        *_more_sides(lone),
        *_right_folder(objects),
        *_tell_apart(objects, mix_ups),
        *_more_sides(few),
        *(_again(one) for one in objects if _spoilt(one)),
    )


def _more_sides(objects: Sequence[ObjectFacts]) -> list[Advice]:
    """One piece of advice for all the objects that are in the same state."""
    alike: dict[tuple[int, int], list[str]] = {}
    for one in objects:
        alike.setdefault((one.views, one.photos), []).append(one.label)
    told = []
    for (views, photos), labels in alike.items():
        missing, each = ENOUGH - views, " of each" if len(labels) > 1 else ""
        do = f"{missing} more photos{each}, from other sides."
        if missing == 1:
            do = f"1 more photo{each}, from another side."
        if photos == 1:
            why = f"There is only 1{each}, so there was nothing to check it against."
        elif views == photos:
            why = f"There are only {photos}{each}."
        elif views == 1:
            why = f"The {photos} there are{each} show nearly the same shot. Walk round it."
        else:
            why = f"The {photos} there are{each} make about {views} different views. Walk round it."
        told.append(Advice(tuple(labels), do, why))
    return told


def _right_folder(objects: Sequence[ObjectFacts]) -> list[Advice]:
    labels = tuple(one.label for one in objects if "mislabelled" in one.findings)
    if not labels:
        return []
    count = sum(one.findings.get("mislabelled", 0) for one in objects)
    do = (
        f"First see whether {photos_of(count)} {'is' if count == 1 else 'are'} in the right folder."
    )
    return [Advice(labels, do, "More like another object than like their own; shown below.")]


def _tell_apart(
    objects: Sequence[ObjectFacts], mix_ups: Sequence[tuple[str, str, int]]
) -> list[Advice]:
    # One photo that is perhaps in the wrong folder says nothing about the two objects.
    doubted = {one.label for one in objects if "mixed up" not in one.findings}
    pairs: dict[tuple[str, ...], int] = {}
    for label, other, photos in mix_ups:
        if photos > 1 or label not in doubted:
            pair = tuple(sorted((label, other)))
            pairs[pair] = pairs.get(pair, 0) + photos
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [
        Advice(
            pair,
            "2 or 3 more photos of each, close up, of what differs between them.",
            f"{photos_of(count)} of one {'was' if count == 1 else 'were'} taken for the other.",
        )
        for pair, count in ranked
    ]


def _spoilt(one: ObjectFacts) -> dict[str, int]:
    return {kind: one.findings[kind] for kind in RETAKE if kind in one.findings}


def _again(one: ObjectFacts) -> Advice:
    spoilt = _spoilt(one)
    said = ", ".join(f"{n} {'is' if n == 1 else 'are'} {kind}" for kind, n in spoilt.items())
    return Advice((one.label,), "Take these again: close, sharp, in good light.", f"{said}.")


def photos_of(count: int) -> str:
    """ "1 photo", "3 photos" """
    return f"{count} photo{'' if count == 1 else 's'}"
