"""A profile: what `adapt` learned of one person's objects, and all that `classify` needs.

Plain data. `to_tensors` and `from_tensors` are its file format (storage.py holds the bytes): one
safetensors file without code or time stamps, so the same photos give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from litecli.config import PROFILE_SCHEMA

HEADER_KEY = "litecli"  # metadata key of the JSON header, in profiles and in models
_TEXT_FIELDS = ("name", "model_name", "model_folder", "model_fingerprint", "head", "folder")
_NUMBER_FIELDS = ("temperature", "unknown_threshold")
_LIST_FIELDS = ("labels", "photo_paths", "photo_hashes")


class NewerFormatError(ValueError):
    """The profile's format is of a later litecli than this one."""


@dataclass(frozen=True)
class Profile:
    """One person's objects on top of one model: N photos of C objects, D features a photo."""

    name: str
    labels: tuple[str, ...]  # C names, sorted
    model_name: str
    model_folder: str  # where it was, if it was used by its folder; else ""
    model_fingerprint: str  # of the model whose features these are
    head: str  # a key of heads.HEADS, or "generated": the model's own
    head_params: dict[str, np.ndarray]
    temperature: float  # scores / temperature are the logits of the softmax
    unknown_threshold: float  # a photo whose novelty is above this is none of the objects
    folder: str  # absolute path of the photos
    photo_paths: tuple[str, ...]  # N, below `folder`, with forward slashes
    photo_hashes: tuple[str, ...]  # N, sha256 of the file's bytes
    photo_labels: np.ndarray  # int64 [N], index into `labels`
    embeddings: np.ndarray  # float32 [N, D]
    looks: np.ndarray  # int8 [N, 256], the photo as 16 x 16 greys; see selfcheck.look
    check: dict[str, Any] = field(default_factory=dict)  # JSON-ready; see selfcheck.Check.to_dict
    thumbnails: dict[str, bytes] = field(default_factory=dict)  # photo hash -> JPEG; may be empty
    # With FiLM: the model's tensors that have other values for these photos, by name.
    film: dict[str, np.ndarray] = field(default_factory=dict)


def to_tensors(profile: Profile) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and the metadata of the profile's file."""
    tensors = {f"head.{name}": np.asarray(array) for name, array in profile.head_params.items()}
    tensors |= {f"film.{name}": array for name, array in profile.film.items()}
    tensors["embeddings"] = profile.embeddings
    tensors["looks"] = profile.looks
    tensors["photo_labels"] = profile.photo_labels
    for photo_hash, jpeg in profile.thumbnails.items():
        tensors[f"thumbnail.{photo_hash}"] = np.frombuffer(jpeg, dtype=np.uint8)
    header = {key: getattr(profile, key) for key in _TEXT_FIELDS + _NUMBER_FIELDS + _LIST_FIELDS}
    header |= {"schema": PROFILE_SCHEMA, "check": profile.check}
    # ASCII: a file name that is not valid UTF-8 survives only as an escape.
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    return tensors, {HEADER_KEY: text}


def from_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Profile:
    """Read `to_tensors`' form.

    Raises NewerFormatError when a newer litecli wrote it, ValueError when it is no profile or its
    parts contradict each other.
    """
    header = json.loads(metadata.get(HEADER_KEY, "null"))
    if not isinstance(header, dict) or "schema" not in header:
        raise ValueError("it has no profile header")
    if header["schema"] > PROFILE_SCHEMA:
        raise NewerFormatError(
            f"Its format is {header['schema']}; this litecli reads up to {PROFILE_SCHEMA}."
        )
    try:
        fields: dict[str, Any] = {key: str(header[key]) for key in _TEXT_FIELDS}
        fields |= {key: float(header[key]) for key in _NUMBER_FIELDS}
        fields |= {key: tuple(header[key]) for key in _LIST_FIELDS}
        profile = Profile(
            **fields,
            check=header["check"],
            photo_labels=tensors["photo_labels"],
            embeddings=tensors["embeddings"],
            looks=tensors["looks"],
            head_params=_with_prefix(tensors, "head."),
            film=_with_prefix(tensors, "film."),
            thumbnails={k: v.tobytes() for k, v in _with_prefix(tensors, "thumbnail.").items()},
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"its part {error} is missing or odd") from error
    _check_consistent(profile)
    return profile


def _with_prefix(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    names = sorted(name for name in tensors if name.startswith(prefix))
    return {name.removeprefix(prefix): tensors[name] for name in names}


def _check_consistent(profile: Profile) -> None:
    num_photos = len(profile.photo_paths)
    per_photo = (profile.photo_hashes, profile.photo_labels, profile.embeddings, profile.looks)
    shapes = [len(values) for values in per_photo]
    if set(shapes) != {num_photos} or profile.embeddings.ndim != 2:
        raise ValueError(f"it lists {num_photos} photos but holds {shapes}")
    used = set(profile.photo_labels.tolist())
    if used != set(range(len(profile.labels))):
        raise ValueError("its photos and its objects do not match")
