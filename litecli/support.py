"""A folder of photos as a support set: every photo read and embedded, doubles taken out.

With FiLM a photo's features depend on all the others: when one comes or goes, all are made anew.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np

from litecli import images, selfcheck
from litecli.decoding import read_file
from litecli.encoder import Encoder
from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.folders import Scan, Skipped
from litecli.folding import FirstLook
from litecli.model_library import Model
from litecli.profile import Profile

Place = tuple[str, str, str]  # of a photo: label, relative path, hash

_ALL_ANEW = "photos came or went, so all were read anew: with this model each depends on the others"


@dataclass(frozen=True)
class Photo:
    """A photo's content, whatever its name: what a profile keeps of it."""

    hash: str  # sha256 of the file's bytes
    look: np.ndarray  # int8 [256]; see selfcheck.look
    notes: tuple[str, ...]  # "dark", "very small", ...
    thumbnail: bytes | None  # JPEG
    embedding: np.ndarray | None = None  # float32 [D]; with FiLM it comes last
    first_look: np.ndarray | None = None  # with FiLM, until then: what the set encoder says of it,
    square: np.ndarray | None = None  # and what it saw, uint8 [S, S, 3]


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
    seconds: dict[str, float]  # read, encode: of the clock, shared as the threads spent them
    film: dict[str, np.ndarray]  # see Profile.film


def read_support(
    scan: Scan,
    model: Model,
    previous: Profile | None = None,
    thumbnails: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Support:
    """Read and embed the photos of a scan; `previous` lends what it knows of the same photos.

    Raises LiteError: INPUT (no photo can be used), MACHINE (no room for temporary files).
    """
    start = time.perf_counter()
    known = _known_photos(previous, model, thumbnails)
    film: dict[str, np.ndarray] = {}
    with closing(_Network(model)) as network:
        read = partial(_read_photo, network=network, thumbnails=thumbnails)
        photos, places, skipped = _see_all(scan, partial(read, known=known), network, progress)
        kept, doubles, notes = _without_doubles(places)
        skipped += doubles
        if not kept:
            raise _nothing_left(scan, skipped)
        embedded = len(photos.keys() - known.keys())
        if model.config.film:
            photos = {photo_hash: photos[photo_hash] for _, _, photo_hash in kept}
            if previous and photos.keys() == known.keys() == set(previous.photo_hashes):
                film, embedded = previous.film, 0
            else:
                paths = {photo_hash: scan.folder / path for _, path, photo_hash in kept}
                film, photos = network.fold(photos, paths, read, progress)
                embedded = len(photos)
                notes += (_ALL_ANEW,) if known else ()
    encode = network.seconds / images.workers()
    return Support(
        labels=tuple(label for label, _, _ in kept),
        paths=tuple(path for _, path, _ in kept),
        photos=tuple(photos[photo_hash] for _, _, photo_hash in kept),
        skipped=tuple(skipped),
        notes=notes,
        embedded=embedded,
        reused=len(photos) - embedded,
        seconds={"read": time.perf_counter() - start - encode, "encode": encode},
        film=film,
    )


def _see_all(
    scan: Scan,
    read: Callable[[Path], Photo | PhotoError],
    network: "_Network",
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Photo], list[Place], list[Skipped]]:
    """The photos of a scan by hash, where each was found, and the files that are none."""
    items = [(found.label, path) for found in scan.objects for path in found.photos]
    photos: dict[str, Photo] = {}
    places: list[Place] = []
    skipped = list(scan.skipped)
    ahead = images.in_order(read, [path for _, path in items])
    for done, ((label, path), photo) in enumerate(zip(items, ahead, strict=True), start=1):
        relative = path.relative_to(scan.folder).as_posix()
        if isinstance(photo, PhotoError):
            skipped.append(Skipped(relative, photo.reason))
        else:
            places.append((label, relative, photo.hash))
            if photo.hash not in photos:
                photos[photo.hash] = network.keep(photo)
        if progress:
            progress(done // network.passes, len(items))
    return photos, places, skipped


class _Network:
    """A model's passes over photos, timed; its graphs are not loaded when nothing is new."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.passes = 2 if model.config.film else 1
        self.seconds = 0.0  # of all threads together
        self._encoder: Encoder | None = None
        self._first_look: FirstLook | None = None
        self._lock = Lock()

    def see(self, photo: Photo, looks: np.ndarray, inputs: np.ndarray) -> Photo:
        """Runs in a thread: a photo with its features, or with FiLM what `keep` needs of it.

        Its looks come as uint8 [looks, S, S, 3] and as inputs, float32 [looks, 3, S, S].
        """
        with self._lock:
            if self.model.config.film:
                look = self._first_look = self._first_look or FirstLook(self.model)
            else:
                encoder = self._encoder = self._encoder or Encoder(self.model.folder)
        began = time.perf_counter()
        if self.model.config.film:
            photo = replace(photo, first_look=look.see(inputs[0]), square=looks[0])
        else:
            photo = replace(photo, embedding=encoder.features(inputs))
            self._check_size(photo)
        with self._lock:
            self.seconds += time.perf_counter() - began
        return photo

    def keep(self, photo: Photo) -> Photo:
        """A photo without what only `fold` needs of it: that is put aside."""
        if photo.first_look is None or photo.square is None:
            return photo
        assert self._first_look is not None
        self._first_look.add(photo.hash, photo.square, photo.first_look)
        return replace(photo, first_look=None, square=None)

    def fold(
        self,
        photos: Mapping[str, Photo],
        paths: Mapping[str, Path],
        read: Callable[[Path], Photo | PhotoError],
        progress: Callable[[int, int], None] | None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Photo]]:
        """FiLM values for these photos, by hash, and the photos with features under them.

        Those that were not seen, because their features were known, are read again.
        """
        look = self._first_look = self._first_look or FirstLook(self.model)
        late = [photo_hash for photo_hash in photos if photo_hash not in look]
        again = images.in_order(read, [paths[photo_hash] for photo_hash in late])
        for photo_hash, photo in zip(late, again, strict=True):
            if isinstance(photo, PhotoError) or photo.hash != photo_hash:
                raise LiteError(
                    f"{paths[photo_hash]} changed while it was read.",
                    fix="the same command again",
                    code=ExitCode.INPUT,
                )
            self.keep(photo)
        began = time.perf_counter()
        film = look.norms(photos)
        embedded = {}
        for photo_hash, embedding in look.features(film, photos):
            embedded[photo_hash] = replace(photos[photo_hash], embedding=embedding)
            if progress:
                progress((len(photos) + len(embedded)) // 2, len(photos))
        self.seconds += (time.perf_counter() - began) * images.workers()
        return film, embedded

    def close(self) -> None:
        """Delete what was kept on disk for `fold`."""
        if self._first_look is not None:
            self._first_look.close()

    def _check_size(self, photo: Photo) -> None:
        if photo.embedding is None or len(photo.embedding) == self.model.config.num_features:
            return
        raise LiteError(
            f"The model in {self.model.folder} is damaged.",
            f"Its features are {len(photo.embedding)} numbers, not what its config promises.",
            "fetch or add it again: litecli models --help",
            code=ExitCode.MISSING,
        )


def _known_photos(previous: Profile | None, model: Model, thumbnails: bool) -> dict[str, Photo]:
    """Hash -> photo of a profile made by the very same model; without it, nothing."""
    if previous is None or previous.model_fingerprint != model.fingerprint:
        return {}
    if previous.embeddings.shape[1] != model.config.num_features:
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
    path: Path, network: _Network, thumbnails: bool, known: Mapping[str, Photo] | None = None
) -> Photo | PhotoError:
    """Runs in a thread: the known photo of these bytes, or a new one and its features, or why not.

    A thread reads and encodes: so there is no time at which one waits for the other.
    """
    preprocess = network.model.config.preprocess
    try:
        data = read_file(path)
        photo_hash = images.photo_hash(data)
        if known and photo_hash in known:
            return known[photo_hash]
        looks, loaded = images.load_looks(data, preprocess)
    except PhotoError as error:
        return error
    inputs = images.to_input(looks, preprocess)
    thumbnail = images.thumbnail_jpeg(loaded.image) if thumbnails else None
    photo = Photo(photo_hash, selfcheck.look(inputs[0]), loaded.notes, thumbnail)
    return network.see(photo, looks, inputs)


def _without_doubles(
    places: list[Place],
) -> tuple[list[Place], list[Skipped], tuple[str, ...]]:
    """Places whose photo is in one object only, once each; the rest as skipped, with notes."""
    by_hash: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        by_hash[place[2]].append(place)
    kept, skipped, notes = [], [], []
    for same in by_hash.values():
        if len({label for label, _, _ in same}) == 1:
            first = min(same, key=lambda place: (len(place[1]), place[1]))  # not "IMG_1 (1).jpg"
            kept.append(first)
            copies = [place[1] for place in same if place != first]
            skipped += [Skipped(path, f"same photo as {first[1]}") for path in copies]
            continue
        paths = [path for _, path, _ in same]
        notes.append(f"{' and '.join(paths)} are the same photo: which is it? Left out.")
        skipped += [Skipped(path, "same photo in two objects") for path in paths]
    return sorted(kept), skipped, tuple(notes)


def _nothing_left(scan: Scan, skipped: list[Skipped]) -> LiteError:
    first = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:5])
    return LiteError(
        f"None of the photos in {scan.folder} can be used.",
        first,
        "add JPEG, PNG or HEIC photos, one folder per object",
        code=ExitCode.INPUT,
    )
