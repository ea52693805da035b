"""A folder of photos as a support set: every photo read and embedded, doubles taken out.

With FiLM a photo's features depend on all the others: when one comes or goes, all are made anew.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from litecli import memory
from litecli.config import Preprocess
from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.heads.labelled import crops_learned
from litecli.library.model_files import Model
from litecli.library.profile import Profile
from litecli.networks.passes import Engine, Network, Photo
from litecli.personal import same_shot
from litecli.photos import images
from litecli.photos.decoding import NO_HEIC, read_file, reader_of
from litecli.photos.folders import Scan, Skipped
from litecli.threads import in_order, workers

Place = tuple[str, str, str]  # of a photo: label, relative path, hash

MANY = 20  # photos; from so many on a thread reads two before it encodes them: the network's
# weights and the pictures take fewer turns in the processor's cache

TWICE = "same photo in two objects"
_ALL_ANEW = "photos came or went, so all were read anew: with this model each depends on the others"
_MORE_LOOKS = "there are fewer photos now, so each is looked at more often: all were read anew"


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
    engine: Engine | None = None,
) -> Support:
    """Read and embed the photos of a scan; `previous` lends what it knows of the same photos.

    `engine` runs the network; None is onnxruntime.
    Raises LiteError: INPUT (no photo can be used), MACHINE (no room for temporary files).
    """
    start = time.perf_counter()
    num_looks = learned_looks(model.config.preprocess, sum(len(o.photos) for o in scan.objects))
    known = _known_photos(previous, model, thumbnails, num_looks)
    film: dict[str, np.ndarray] = {}
    with memory.kept(), closing(Network(model, engine)) as network:
        read = partial(_read_photos, network=network, thumbnails=thumbnails, num_looks=num_looks)
        photos, places, skipped = _see_all(scan, partial(read, known=known), network, progress)
        kept, doubles, notes = _without_doubles(places)
        skipped += doubles
        if not kept:
            raise _nothing_left(scan, skipped)
        photos = {photo_hash: photos[photo_hash] for _, _, photo_hash in kept}
        embedded = len(photos.keys() - known.keys())
        if previous and _lacks_looks(previous, model, num_looks):
            notes += (_MORE_LOOKS,) if photos.keys() & set(previous.photo_hashes) else ()
        if model.config.film:
            if previous and photos.keys() == known.keys() == set(previous.photo_hashes):
                film, embedded = previous.film, 0
            else:
                paths = {photo_hash: scan.folder / path for _, path, photo_hash in kept}
                film, photos = network.fold(photos, paths, lambda path: read([path])[0], progress)
                embedded = len(photos)
                notes += (_ALL_ANEW,) if known else ()
    encode = network.seconds / workers()
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
    read: Callable[[Sequence[Path]], list[Photo | PhotoError]],
    network: Network,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Photo], list[Place], list[Skipped]]:
    """The photos of a scan by hash, where each was found, and the files that are none."""
    items = [(found.label, path) for found in scan.objects for path in found.photos]
    photos: dict[str, Photo] = {}
    places: list[Place] = []
    skipped = list(scan.skipped)
    paths = [path for _, path in items]
    together = 2 if len(paths) >= MANY else 1
    groups = [paths[n : n + together] for n in range(0, len(paths), together)]
    ahead = network.encoded(chain.from_iterable(in_order(read, groups)))
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


def learned_looks(preprocess: Preprocess, num_photos: int) -> int:
    """How many looks are taken at each of so many support photos.

    Of the support looks as many as a head then learns from (`crops_learned`).
    """
    own = len(preprocess.look_shares)
    return max(own, crops_learned(max(num_photos, 1), own + preprocess.support_looks))


def _known_photos(
    previous: Profile | None, model: Model, thumbnails: bool, num_looks: int
) -> dict[str, Photo]:
    """Hash -> photo of a profile made by the very same model with no fewer looks; else nothing."""
    if previous is None or previous.model_fingerprint != model.fingerprint:
        return {}
    if previous.embeddings.shape[1] != model.config.num_features:
        return {}
    if _lacks_looks(previous, model, num_looks):
        return {}
    crops = None if num_looks == 1 else previous.crops
    notes = previous.check.get("photo_notes", {})
    photos = {}
    for n, photo_hash in enumerate(previous.photo_hashes):
        thumbnail = previous.thumbnails.get(photo_hash) if thumbnails else None
        if thumbnail is not None or not thumbnails:
            said = tuple(notes.get(photo_hash, ()))
            photos[photo_hash] = Photo(
                photo_hash,
                previous.greys[n],
                said,
                thumbnail,
                previous.embeddings[n],
                None if crops is None else crops[n, :num_looks],
            )
    return photos


def _lacks_looks(previous: Profile, model: Model, num_looks: int) -> bool:
    """Whether a profile of this very model has fewer looks at a photo than are taken now."""
    had = 1 if previous.crops is None else previous.crops.shape[1]
    return previous.model_fingerprint == model.fingerprint and had < num_looks


def _read_photos(
    paths: Sequence[Path],
    network: Network,
    thumbnails: bool,
    num_looks: int,
    known: Mapping[str, Photo] | None = None,
) -> list[Photo | PhotoError]:
    """Runs in a thread: of each file the photo and its features, or why there are none.

    A thread reads and encodes: so there is no time at which one waits for the other.
    """
    seen = [_read_photo(path, network, thumbnails, num_looks, known or {}) for path in paths]
    return [network.see(*one) if isinstance(one, tuple) else one for one in seen]


def _read_photo(
    path: Path, network: Network, thumbnails: bool, num_looks: int, known: Mapping[str, Photo]
) -> Photo | PhotoError | tuple[Photo, np.ndarray, np.ndarray]:
    """The known photo of these bytes, or a new one and what the network sees of it."""
    preprocess = network.model.config.preprocess
    try:
        data = read_file(path)
        photo_hash = images.photo_hash(data)
        if photo_hash in known:
            return known[photo_hash]
        reader_of(data)  # for a web page no graph is loaded
        network.begin()
        looks, loaded = images.load_looks(data, preprocess, num_looks - len(preprocess.look_shares))
    except PhotoError as error:
        return error
    inputs = images.to_input(looks, preprocess)
    thumbnail = images.thumbnail_jpeg(loaded.image) if thumbnails else None
    photo = Photo(photo_hash, same_shot.greys_of(inputs[0]), loaded.notes, thumbnail)
    return photo, looks, inputs


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
        skipped += [Skipped(path, TWICE) for path in paths]
    return sorted(kept), skipped, tuple(notes)


def _nothing_left(scan: Scan, skipped: list[Skipped]) -> LiteError:
    first = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:5])
    twice = [one.path for one in skipped if one.reason == TWICE]
    if twice:
        return LiteError(
            f"The object folders in {scan.folder} are copies of each other.",
            f"Each photo is in two of them, e.g. {' and '.join(twice[:2])}.",
            "leave every photo only in the folder of the object it shows",
            code=ExitCode.INPUT,
        )
    fix = "add JPEG, PNG or HEIC photos, one folder per object"
    if {one.reason for one in skipped} == {NO_HEIC}:
        fix = NO_HEIC.partition(": ")[2]
    what = f"None of the photos in {scan.folder} can be used."
    return LiteError(what, first, fix, code=ExitCode.INPUT)
