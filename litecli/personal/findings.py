"""The photos of a profile that deserve a look: mistaken, unlike the others, doubled, spoilt."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from litecli.heads.labelled import unit_rows
from litecli.library.profile import Profile
from litecli.personal import same_shot

# Perhaps in the wrong folder: the mean cosine to the three nearest photos of the object it was
# taken for is this much above the one to the nearest of its own object. With 3 % of the photos of
# 41 groceries misplaced, every photo shown was one of them, and 74 % of them were shown.
MISPLACED = 0.15
# What litecli notes of a photo when it reads it -> title, and what it means. In this order.
QUALITY = {
    "blurred": ("Blurred", "Details are lost. A sharp photo teaches more."),
    "dark": ("Very dark", "Hardly anything can be seen. Try again with more light."),
    "bright": ("Almost white", "Hardly anything can be seen. Try again with less light."),
    "very small": ("Very small", "Fewer than 64 pixels across: photos from the camera are better."),
    "with several frames (first used)": ("Moving pictures", "Only the first of each is used."),
}


@dataclass(frozen=True)
class Picture:
    """One of the person's own photos; `jpeg` is its thumbnail, None where none was kept."""

    path: str  # relative to the folder of the profile
    label: str  # its object
    jpeg: bytes | None


@dataclass(frozen=True)
class Finding:
    """Photos to look at together, a sentence on them, and the photo they are taken for."""

    pictures: tuple[Picture, ...]
    says: str
    like: Picture | None = None


@dataclass(frozen=True)
class Concern:
    """One kind of findings, and what to do about it; `kind` is its name in JSON."""

    kind: str
    title: str
    explains: str
    findings: tuple[Finding, ...]


class OwnPhotos:
    """The N photos of a profile as its check saw them."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.labels = profile.photo_labels  # int64 [N]
        self.notes: dict[str, Any] = profile.check.get("photo_notes", {})  # by hash
        self.groups = same_shot.views(profile.greys, self.labels)  # int64 [N]
        self.unit = unit_rows(profile.embeddings)  # float32 [N, D]
        number = {label: index for index, label in enumerate(profile.labels)}
        taken = profile.check.get("named", {})
        # int64 [N], the object each photo was taken for in the check, -1 where that is not known
        self.named = np.array([number.get(taken.get(p), -1) for p in profile.photo_paths])
        self.wrong = np.flatnonzero((self.named >= 0) & (self.named != self.labels))
        self.pictures = tuple(
            Picture(path, profile.labels[label], _jpeg(profile, photo_hash))
            for path, label, photo_hash in zip(
                profile.photo_paths, self.labels.tolist(), profile.photo_hashes, strict=True
            )
        )


def concerns(own: OwnPhotos, novelty: np.ndarray) -> tuple[Concern, ...]:
    """All that deserves a look, the most telling first; novelty [N] is of each photo held out."""
    return (
        *_mistaken(own),
        *_twins(own),
        *_unlike(own, novelty),
        *_bursts(own),
        *_quality(own),
    )


def _mistaken(own: OwnPhotos) -> list[Concern]:
    """Photos taken for another object; apart, those that are clearly more like it."""
    wrong_folder, look_alikes = [], []
    for n in own.wrong:
        label, other = own.pictures[n].label, own.profile.labels[own.named[n]]
        alike = own.unit @ own.unit[n]
        like = int(np.argmax(np.where(own.labels == own.named[n], alike, -np.inf)))
        finding = Finding((own.pictures[n],), f"{label}, or {other}?", own.pictures[like])
        others = np.sort(alike[own.labels == own.named[n]])[-3:]
        same = alike[(own.labels == own.labels[n]) & (own.groups != own.groups[n])]
        misplaced = others.mean() - same.max(initial=-1.0) > MISPLACED
        (wrong_folder if misplaced else look_alikes).append(finding)
    return [
        *_concern(
            "mislabelled",
            "Perhaps in the wrong folder",
            "Each of these looks more like another object. If it is one, move the photo to that "
            "object’s folder. If not, keep it: it shows where the two are alike.",
            wrong_folder,
        ),
        *_concern(
            "mixed up",
            "Easily mixed up",
            "litecli took each of these for another object that looks much like it. A few more "
            "photos like these will help.",
            look_alikes,
        ),
    ]


def _unlike(own: OwnPhotos, novelty: np.ndarray) -> list[Concern]:
    """Photos that would be called unknown, had they not been learned; dark ones are said so."""
    findings = [
        Finding((own.pictures[n],), own.pictures[n].label)
        for n in np.argsort(-novelty, kind="stable")
        if novelty[n] > own.profile.unknown_threshold
        and n not in own.wrong
        and not own.notes.get(own.profile.photo_hashes[n])
    ]
    return _concern(
        "doubtful",
        "Unlike the others",
        "Is the object easy to see, and is it the right one? Then it is a new side of it: "
        "take more photos like this one.",
        findings,
    )


def _twins(own: OwnPhotos) -> list[Concern]:
    """Pairs of photos of two objects that are probably copies of one photo."""
    findings = []
    for one, other in same_shot.twins(own.profile.greys, own.labels):
        pictures = own.pictures[one], own.pictures[other]
        findings.append(Finding(pictures, " and ".join(picture.label for picture in pictures)))
    return _concern(
        "same photo",
        "The same photo in two objects?",
        "These are almost the same picture. If it is a copy, keep it with the object that it shows "
        "and delete the other.",
        findings,
    )


def _bursts(own: OwnPhotos) -> list[Concern]:
    findings = []
    for group, count in Counter(own.groups.tolist()).most_common():
        if count > 1:
            pictures = tuple(own.pictures[n] for n in np.flatnonzero(own.groups == group))
            findings.append(Finding(pictures, f"{count} photos of {pictures[0].label}"))
    return _concern(
        "same shot",
        "Nearly the same shot",
        "Photos this much alike teach about as much as one of them. They can stay.",
        findings,
    )


def _quality(own: OwnPhotos) -> list[Concern]:
    found = []
    for kind, (title, explains) in QUALITY.items():
        findings = [
            Finding((picture,), picture.label)
            for picture, photo_hash in zip(own.pictures, own.profile.photo_hashes, strict=True)
            if kind in own.notes.get(photo_hash, ())
        ]
        found += _concern(kind, title, explains, findings)
    return found


def _concern(kind: str, title: str, explains: str, findings: list[Finding]) -> list[Concern]:
    return [Concern(kind, title, explains, tuple(findings))] if findings else []


def _jpeg(profile: Profile, photo_hash: str) -> bytes | None:
    """The thumbnail, if it is one: a profile may come from anywhere."""
    jpeg = profile.thumbnails.get(photo_hash, b"")
    return jpeg if jpeg.startswith(b"\xff\xd8") else None
