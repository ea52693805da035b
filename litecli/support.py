"""A folder of photos as a support set: every photo read and embedded once, doubles taken out."""

import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from litecli import images, selfcheck
from litecli.config import Preprocess
from litecli.decoding import read_file
from litecli.encoder import Encoder
from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.folders import Scan, Skipped
from litecli.model_library import Model
from litecli.profile import Profile


@dataclass(frozen=True)
class Photo:
    """A photo's content, whatever its name: what a profile keeps of it."""

    hash: str  # sha256 of the file's bytes
    look: np.ndarray  # int8 [256]; see selfcheck.look
    notes: tuple[str, ...]  # "dark", "very small", ...
    thumbnail: bytes | None  # JPEG
    pixels: np.ndarray | None = None  # float32 [3, S, S] until there is an embedding
    embedding: np.ndarray | None = None  # float32 [D]


@dataclass(frozen=True)
class Support:
    """The photos to learn from, sorted by object and path."""

    labels: tuple[str, ...]  # N
    paths: tuple[str, ...]  # N, relative, with forward slashes
    photos: tuple[Photo, ...]  # N, each with an embedding
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    embedded: int
    reused: int
    seconds: dict[str, float]  # read: waiting for photos; encode


def workers() -> int:
    """Decoding threads: one per core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_support(
    scan: Scan,
    model: Model,
    previous: Profile | None = None,
    thumbnails: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Support:
    """Read and embed the photos of a scan; `previous` lends what it knows of the same photos.

    Raises LiteError (INPUT) when no photo can be used.
    """
    start = time.perf_counter()
    known = _known_photos(previous, model, thumbnails)
    items = [(found.label, path) for found in scan.objects for path in found.photos]
    read = partial(
        _read_photo, known=known, preprocess=model.config.preprocess, thumbnails=thumbnails
    )
    photos: dict[str, Photo] = {}  # by hash
    places: list[tuple[str, str, str]] = []  # label, relative path, hash
    skipped = list(scan.skipped)
    encoder, encode_seconds, embedded = None, 0.0, 0
    ahead = images.in_order(read, [path for _, path in items], workers(), 2 * workers())
    for done, ((label, path), photo) in enumerate(zip(items, ahead, strict=True), start=1):
        relative = path.relative_to(scan.folder).as_posix()
        if isinstance(photo, PhotoError):
            skipped.append(Skipped(relative, photo.reason))
        else:
            places.append((label, relative, photo.hash))
            if photo.hash not in photos and photo.pixels is not None:
                began = time.perf_counter()
                encoder = encoder or Encoder(model.folder)  # not loaded when nothing is new
                embedding = encoder.encode(photo.pixels[None])[0]
                photo = replace(photo, pixels=None, embedding=embedding)
                encode_seconds += time.perf_counter() - began
                embedded += 1
            photos.setdefault(photo.hash, photo)
        if progress:
            progress(done, len(items))
    seconds = {"read": time.perf_counter() - start - encode_seconds, "encode": encode_seconds}
    kept, doubles, notes = _without_doubles(places)
    skipped += doubles
    if not kept:
        raise _nothing_left(scan, skipped)
    return Support(
        labels=tuple(label for label, _, _ in kept),
        paths=tuple(path for _, path, _ in kept),
        photos=tuple(photos[photo_hash] for _, _, photo_hash in kept),
        skipped=tuple(skipped),
        notes=notes,
        embedded=embedded,
        reused=len(photos) - embedded,
        seconds=seconds,
    )


def _known_photos(previous: Profile | None, model: Model, thumbnails: bool) -> dict[str, Photo]:
    """Hash -> photo of a profile made by the very same model; without it, nothing."""
    if previous is None or previous.model_fingerprint != model.fingerprint:
        return {}
    notes = previous.check.get("photo_notes", {})
    photos = {}
    for photo_hash, look, embedding in zip(
        previous.photo_hashes, previous.looks, previous.embeddings, strict=True
    ):
        thumbnail = previous.thumbnails.get(photo_hash) if thumbnails else None
        if thumbnail is not None or not thumbnails:
            said = tuple(notes.get(photo_hash, ()))
            photos[photo_hash] = Photo(photo_hash, look, said, thumbnail, embedding=embedding)
    return photos


def _read_photo(
    path: Path, known: dict[str, Photo], preprocess: Preprocess, thumbnails: bool
) -> Photo | PhotoError:
    """Runs in a thread: the known photo of these bytes, or the decoded one, or why not."""
    try:
        data = read_file(path)
        photo_hash = images.photo_hash(data)
        if photo_hash in known:
            return known[photo_hash]
        pixels, loaded = images.load_input(data, preprocess)
    except PhotoError as error:
        return error
    thumbnail = images.thumbnail_jpeg(loaded.image) if thumbnails else None
    return Photo(photo_hash, selfcheck.look(pixels), loaded.notes, thumbnail, pixels=pixels)


def _without_doubles(
    places: list[tuple[str, str, str]],
) -> tuple[list[tuple[str, str, str]], list[Skipped], tuple[str, ...]]:
    """Places whose photo is in one object only, once each; the rest as skipped, with notes."""
    by_hash: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for place in places:
        by_hash[place[2]].append(place)
    kept, skipped, notes = [], [], []
    for same in by_hash.values():
        (_, first, _), *others = same
        if len({label for label, _, _ in same}) == 1:
            kept.append(same[0])
            skipped += [Skipped(path, f"same photo as {first}") for _, path, _ in others]
            continue
        paths = [path for _, path, _ in same]
        notes.append(f"{' and '.join(paths)} are the same photo: which is it? Left out.")
        skipped += [Skipped(path, "same photo in two objects") for path in paths]
    return kept, skipped, tuple(notes)


def _nothing_left(scan: Scan, skipped: list[Skipped]) -> LiteError:
    first = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:5])
    return LiteError(
        f"None of the photos in {scan.folder} can be used.",
        first,
        "add JPEG, PNG or HEIC photos, one folder per object",
        code=ExitCode.INPUT,
    )
