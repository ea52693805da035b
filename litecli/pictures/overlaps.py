"""What a run is validated on and has trained on too: accuracy on it would flatter."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from litecli.photos.images import photo_hash
from litecli.tasks.episodes import Source


def overlaps_of(
    paths: Sequence[Path],
    training: Sequence[Source],
    validation: Sequence[Source],
    elsewhere: bool,
) -> Iterator[str]:
    """What validation shares with training: classes, by name, and photos, by their bytes.

    `elsewhere`: the validation sources are folders of their own, not classes held out of others.
    """
    known = {name for source in training for name in _class_names(source)}
    shared = [name for source in validation for name in _class_names(source) if name in known]
    if shared:
        yield f"validation overlaps training in {len(shared)} classes ({shared[0][1]})"
    trained = [(source, _by_length(paths, source)) for source in training]
    both = []
    for asked in validation:
        own = "" if elsewhere else asked.name  # its other classes are other photos
        others = [by_length for source, by_length in trained if source.name != own]
        for length, photos in _by_length(paths, asked).items():  # only these can be the same
            same = [path for by_length in others for path in by_length.get(length, ())]
            hashes = {photo_hash(path.read_bytes()) for path in same}
            both += [p for p in photos if hashes and photo_hash(p.read_bytes()) in hashes]
    if both:
        name = f"{both[0].parent.name}/{both[0].name}"
        yield f"validation overlaps training in {len(both)} photos ({name})"


def _class_names(source: Source) -> list[tuple[str, str]]:
    """Classes by name, ORBIT's with their user's: the mugs of two people are two things."""
    user = "" if source.query is None else source.name
    return [(user, name) for name in source.classes]


def _by_length(paths: Sequence[Path], source: Source) -> dict[int, list[Path]]:
    """A source's photos by the length of their files; those that are gone are left out."""
    pools = (*source.support, *(source.query or ()))
    found: dict[int, list[Path]] = {}
    for path in (paths[number] for number in sorted({n for pool in pools for n in pool})):
        if path.is_file():
            found.setdefault(path.stat().st_size, []).append(path)
    return found
