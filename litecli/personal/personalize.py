"""Learn a person's objects from a folder of photos. No torch.

    adapt: photos -> images -> encoder -> head -> Profile    (saves nothing)

Photos are encoded one at a time by the threads that decode them. On a processor that is faster
than batches, and it makes a second `adapt` independent of what else is in the folder.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litecli.config import MAX_PHOTOS
from litecli.library.model_files import Model
from litecli.library.profile import Profile
from litecli.networks.model_heads import head_of
from litecli.networks.passes import Engine
from litecli.networks.strangers import strangers_of
from litecli.personal import same_shot, selfcheck
from litecli.personal.changes import Changes, changes_between
from litecli.personal.support import Support, read_support
from litecli.photos.folders import Skipped, scan_objects

TWINS_SHOWN = 3  # pairs of photos that look like one, in two objects
LEFT_OUT_KEPT = 100  # files that were not used, of which a profile remembers the reason


@dataclass(frozen=True)
class ObjectReport:
    """One line of adapt's table; `check_correct` is None when nothing could be checked."""

    label: str
    photos: int
    check_correct: int | None
    check_total: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Adaptation:
    """A profile, and what to tell the person who asked for it."""

    profile: Profile
    objects: tuple[ObjectReport, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    embedded: int  # photos learned from that went through the network
    reused: int  # photos whose features the previous profile had
    seconds: dict[str, float]  # read (waiting for photos), encode, head, total
    forecast: tuple[int, int]  # of 10 new photos, so many will be right; see selfcheck.forecast
    false_accepts: dict[str, float]  # share of strangers taken for an object; see selfcheck
    ignored: int = 0  # files left out without a word; see Scan
    changes: Changes | None = None  # since the previous profile; None: there was none


def adapt(
    folder: Path,
    model: Model,
    *,
    name: str,
    head: str | None = None,
    max_photos: int = MAX_PHOTOS,
    previous: Profile | None = None,
    thumbnails: bool = True,
    progress: Callable[[int, int], None] | None = None,
    engine: Engine | None = None,
) -> Adaptation:
    """Learn the objects of a folder: one sub-folder of photos per object. Saves nothing.

    `head` is a key of heads.heads.HEADS, "auto", or None for the model's own choice. `previous`
    lends the features of photos it has already seen by the same model, with FiLM only if no photo
    came or went; the profile is the same, byte for byte, as without it. `progress(done, total)` is
    called after every photo. `engine`: what runs the network, if not onnxruntime; with
    another one than last time, "the same" is to 1e-3 and no longer byte for byte.
    Raises LiteError (USAGE, INPUT) for folders that cannot be learned from.
    """
    start = time.perf_counter()
    scan = scan_objects(folder, max_photos)
    support = read_support(scan, model, previous, thumbnails, progress, engine)
    began = time.perf_counter()
    names, labels = _numbered(support.labels)
    features = np.stack(
        [photo.embedding for photo in support.photos if photo.embedding is not None]
    )
    seen_closer = [photo.crops for photo in support.photos if photo.crops is not None]
    crops = np.stack(seen_closer) if seen_closer else None
    greys = np.stack([photo.greys for photo in support.photos])
    head = head or model.config.head
    chosen = None if head == "auto" else head_of(model, head)
    others = strangers_of(model)
    check = selfcheck.check_support(features, labels, len(names), greys, chosen, others, crops)
    params = check.head.fit(features, labels, len(names), crops=crops, **check.options)
    told = {photo.hash: list(photo.notes) for photo in support.photos if photo.notes}
    # The last ones: doubles and photos that cannot be read come after files of other kinds.
    left_out = {
        "left_out": [[one.path, one.reason] for one in support.skipped[-LEFT_OUT_KEPT:]],
        "left_out_more": max(len(support.skipped) - LEFT_OUT_KEPT, 0),  # so many are not named
    }
    profile = Profile(
        name=name,
        labels=names,
        model_name=model.name,
        model_folder="" if model.named else model.folder.resolve().as_posix(),
        model_fingerprint=model.fingerprint,
        head=check.head.name,
        head_params={key: np.asarray(value) for key, value in params.items()},
        temperature=check.temperature,
        unknown_threshold=check.unknown_threshold,
        folder=folder.resolve().as_posix(),
        photo_paths=support.paths,
        photo_hashes=tuple(photo.hash for photo in support.photos),
        photo_labels=labels,
        embeddings=features,
        crops=crops,
        greys=greys,
        check=check.to_dict(names, support.paths) | {"photo_notes": told} | left_out,
        film=support.film,
        thumbnails={p.hash: p.thumbnail for p in support.photos if p.thumbnail is not None},
    )
    folder_notes = {found.label: found.notes for found in scan.objects}
    reports = tuple(
        _report(support, check, names, labels, index, folder_notes[label])
        for index, label in enumerate(names)
    )
    lost = [found.label for found in scan.objects if found.label not in names]
    now = time.perf_counter()
    return Adaptation(
        profile=profile,
        objects=reports,
        skipped=support.skipped,
        notes=(
            *scan.notes,
            *support.notes,
            *_twin_notes(same_shot.twins(greys, labels), support.paths),
            *_notes(names, lost, model),
        ),
        embedded=support.embedded,
        reused=support.reused,
        seconds=support.seconds | {"head": now - began, "total": now - start},
        forecast=check.forecast,
        false_accepts=check.false_accepts,
        ignored=scan.ignored,
        changes=changes_between(previous, profile) if previous else None,
    )


def _numbered(labels: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """The C names, sorted, and each photo's index among them, int64 [N]."""
    names = tuple(sorted(set(labels)))
    index = {name: number for number, name in enumerate(names)}
    return names, np.array([index[label] for label in labels], dtype=np.int64)


def _report(
    support: Support,
    check: selfcheck.Check,
    names: tuple[str, ...],
    labels: np.ndarray,
    index: int,
    folder_notes: tuple[str, ...],
) -> ObjectReport:
    mine = np.flatnonzero(labels == index)
    total = int(check.total[index])
    kinds = Counter(note for photo in mine for note in support.photos[photo].notes)
    quality = [", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))]
    own = selfcheck.notes(check, labels, names, support.paths, index)
    return ObjectReport(
        label=names[index],
        photos=len(mine),
        check_correct=int(check.correct[index]) if total else None,
        check_total=total,
        notes=tuple(dict.fromkeys(note for note in (*own, *folder_notes, *quality) if note)),
    )


def _twin_notes(twins: list[tuple[int, int]], paths: tuple[str, ...]) -> list[str]:
    notes = [
        f"{paths[one]} and {paths[other]} look like the same photo: which object is it?"
        for one, other in twins[:TWINS_SHOWN]
    ]
    more = len(twins) - TWINS_SHOWN
    return [*notes, f"{more} more such pairs: see litecli report"] if more > 0 else notes


def _notes(names: tuple[str, ...], lost: list[str], model: Model) -> list[str]:
    notes = [f"no usable photo of {label}: not learned" for label in lost]
    if model.config.film:
        notes.append(
            "the check is a little hopeful with this model: it tuned itself to all of these photos"
        )
    if len(names) == 1:
        notes.append(f'only one object: answers will be "{names[0]}" or "unknown"')
    return notes
