"""What came to a person's photos, and what went, since the profile was learned the last time."""

from dataclasses import dataclass

from litecli.library.profile import Profile


@dataclass(frozen=True)
class Changes:
    """Photos by their path, objects by their name; a photo of another object counts as both."""

    added: tuple[str, ...]
    forgotten: tuple[str, ...]
    new_objects: tuple[str, ...]
    gone_objects: tuple[str, ...]
    moved: int = 0  # of `added`, and as many of `forgotten`: the same photos of another object


def changes_between(before: Profile, now: Profile) -> Changes:
    """What `now` knows and `before` did not, and the reverse; a renamed photo is none."""
    old, new = _photos(before), _photos(now)
    came, went = ({photo for _, photo in keys} for keys in (new.keys() - old, old.keys() - new))
    return Changes(
        added=tuple(path for photo, path in new.items() if photo not in old),
        forgotten=tuple(path for photo, path in old.items() if photo not in new),
        new_objects=tuple(label for label in now.labels if label not in before.labels),
        gone_objects=tuple(label for label in before.labels if label not in now.labels),
        moved=len(came & went),
    )


def _photos(profile: Profile) -> dict[tuple[str, str], str]:
    """(object, sha256) -> path."""
    labels = [profile.labels[index] for index in profile.photo_labels.tolist()]
    return dict(
        zip(zip(labels, profile.photo_hashes, strict=True), profile.photo_paths, strict=True)
    )
