"""A profile: what `adapt` learned of one person's objects, and all that `classify` needs.

Plain data. `to_tensors` and `from_tensors` are its file format (storage.py holds the bytes): one
safetensors file without code or time stamps, so the same photos give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from litecli.config import PROFILE_KEY, PROFILE_SCHEMA

_TEXT_FIELDS = ("name", "model_name", "model_folder", "model_fingerprint", "head", "folder")
_NUMBER_FIELDS = ("temperature", "unknown_threshold")
GREY_SIDE = 16  # a photo's greys are so many across, and down
_LIST_FIELDS = ("labels", "photo_paths", "photo_hashes")


class NewerFormatError(ValueError):
    """The profile's format is of a later litecli than this one."""


class OlderFormatError(ValueError):
    """The profile's numbers mean something else in this litecli."""


@dataclass(frozen=True)
class Profile:
    """One person's objects on top of one model: N photos of C objects, D features a photo."""

    name: str
    labels: tuple[str, ...]  # C names, sorted
    model_name: str
    model_folder: str  # where it was, if it was used by its folder; else ""
    model_fingerprint: str  # of the model whose features these are
    head: str  # a key of heads.heads.HEADS, or "generated": the model's own
    head_params: dict[str, np.ndarray]
    temperature: float  # scores / temperature are the logits of the softmax
    unknown_threshold: float  # a photo whose novelty is above this is none of the objects
    folder: str  # absolute path of the photos
    photo_paths: tuple[str, ...]  # N, below `folder`, with forward slashes
    photo_hashes: tuple[str, ...]  # N, sha256 of the file's bytes
    photo_labels: np.ndarray  # int64 [N], index into `labels`
    embeddings: np.ndarray  # float32 [N, D]
    greys: np.ndarray  # int8 [N, 256], the photo as 16 x 16 of them; see same_shot.greys_of
    check: dict[str, Any] = field(default_factory=dict)  # JSON-ready; see selfcheck.Check.to_dict
    thumbnails: dict[str, bytes] = field(default_factory=dict)  # photo hash -> JPEG; may be empty
    # Where the model looks several times: each look's features at length 1, float16 [N, V, D].
    crops: np.ndarray | None = None
    # With FiLM: the model's tensors that have other values for these photos, by name.
    film: dict[str, np.ndarray] = field(default_factory=dict)
    # Where it was read, if not among those kept by name; no part of the file, which may be moved.
    file: Path | None = None


def to_tensors(profile: Profile) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and the metadata of the profile's file."""
    tensors = {f"head.{name}": np.asarray(array) for name, array in profile.head_params.items()}
    tensors |= {f"film.{name}": array for name, array in profile.film.items()}
    tensors["embeddings"] = profile.embeddings
    tensors["looks"] = profile.greys
    if profile.crops is not None:
        tensors["crops"] = profile.crops
    tensors["photo_labels"] = profile.photo_labels
    for photo_hash, jpeg in profile.thumbnails.items():
        tensors[f"thumbnail.{photo_hash}"] = np.frombuffer(jpeg, dtype=np.uint8)
    header = {key: getattr(profile, key) for key in _TEXT_FIELDS + _NUMBER_FIELDS + _LIST_FIELDS}
    header |= {"schema": PROFILE_SCHEMA, "check": profile.check}
    # ASCII: a file name that is not valid UTF-8 survives only as an escape.
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    return tensors, {PROFILE_KEY: text}


def from_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Profile:
    """Read `to_tensors`' form.

    Raises NewerFormatError or OlderFormatError when another litecli wrote it, ValueError when it
    is no profile or its parts contradict each other.
    """
    try:
        header = json.loads(metadata.get(PROFILE_KEY, "null"))
    except RecursionError:
        header = None
    if not isinstance(header, dict) or type(header.get("schema")) is not int:
        raise ValueError("it has no profile header")
    if header["schema"] > PROFILE_SCHEMA:
        raise NewerFormatError(
            f"Its format is {header['schema']}; this litecli reads up to {PROFILE_SCHEMA}."
        )
    if header["schema"] < PROFILE_SCHEMA and "check" in header:  # else it is a model's
        raise OlderFormatError("Photos are looked at in another way since then.")
    try:
        fields: dict[str, Any] = {key: str(header[key]) for key in _TEXT_FIELDS}
        fields |= {key: float(header[key]) for key in _NUMBER_FIELDS}
        fields |= {key: tuple(map(_text, header[key])) for key in _LIST_FIELDS}
        profile = Profile(
            **fields,
            check=header["check"],
            photo_labels=tensors["photo_labels"],
            embeddings=tensors["embeddings"],
            greys=tensors["looks"],
            crops=tensors.get("crops"),
            head_params=_with_prefix(tensors, "head."),
            film=_with_prefix(tensors, "film."),
            thumbnails={k: v.tobytes() for k, v in _with_prefix(tensors, "thumbnail.").items()},
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"its part {error} is missing or of the wrong type") from error
    _check_consistent(profile)
    return profile


def folder_learned(metadata: Mapping[str, str]) -> str | None:
    """The photo folder of a profile of any litecli, from its metadata; None where it tells none."""
    try:
        header = json.loads(metadata.get(PROFILE_KEY, "null"))
    except (ValueError, RecursionError):
        return None
    folder = header.get("folder") if isinstance(header, dict) else None
    return folder if isinstance(folder, str) else None


def _with_prefix(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    names = sorted(name for name in tensors if name.startswith(prefix))
    return {name.removeprefix(prefix): tensors[name] for name in names}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r}, which should be text,")
    value.encode("utf-8", "surrogateescape")  # a ValueError if it could never be printed
    return value


def _check_consistent(profile: Profile) -> None:
    num_photos, greys = len(profile.photo_paths), profile.greys
    per_photo = (profile.photo_hashes, profile.photo_labels, profile.embeddings, greys)
    shapes = [
        values.shape if isinstance(values, np.ndarray) else (len(values),) for values in per_photo
    ]
    dims = [len(shape) for shape in shapes]
    if dims != [1, 1, 2, 2] or {shape[0] for shape in shapes} != {num_photos} or num_photos == 0:
        raise ValueError(f"it lists {num_photos} photos but holds {shapes}")
    if profile.photo_labels.dtype.kind != "i":
        raise ValueError("its labels have the wrong type")
    if greys.dtype != np.int8 or greys.shape[1] != GREY_SIDE**2:
        raise ValueError("its greys have the wrong type or shape")
    used = set(profile.photo_labels.tolist())
    if used != set(range(len(profile.labels))) or len(set(profile.labels)) != len(profile.labels):
        raise ValueError("its photos and its objects do not match")
    numbers = [profile.embeddings, *profile.head_params.values(), *profile.film.values()]
    if profile.crops is not None:
        numbers.append(profile.crops)
        shape = profile.crops.shape
        if len(shape) != 3 or (shape[0], shape[2]) != profile.embeddings.shape:
            raise ValueError(f"it has {shapes[2]} features and {shape} of crops")
    if any(values.dtype.kind != "f" for values in numbers):
        raise ValueError("some values are of the wrong type")
    if not all(np.isfinite(values).all() for values in numbers):
        raise ValueError("some values are NaN or infinite")
    if not 0 < profile.temperature < np.inf or np.isnan(profile.unknown_threshold):
        raise ValueError("its temperature must be positive and finite, and its threshold a number")
    _check_check(profile.check, num_photos)


def _check_check(check: Any, num_photos: int) -> None:
    """Raise ValueError when what the check found has another form than Check.to_dict gives."""
    try:
        counts = [int(entry[k]) for entry in check.get("objects", ()) for k in ("correct", "total")]
        texts = [_text(entry["label"]) for entry in check.get("objects", ())]
        texts += [_text(t) for pair in check.get("named", {}).items() for t in pair]
        texts += [_text(t) for notes in check.get("photo_notes", {}).values() for t in notes]
        texts += [_text(t) for path, why in check.get("left_out", ()) for t in (path, why)]
        low, high = (int(end) for end in check.get("forecast", (0, 0)))
        more = int(check.get("left_out_more", 0))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"its check has the wrong form ({error})") from error
    if min([low, high, more, *counts]) < 0 or max(counts, default=0) > num_photos:
        raise ValueError("its check has a count below zero or above the number of photos")
