"""Name a person's objects in new photos. No torch.

    classify: photo + profile -> images -> encoder -> head -> Prediction

Every photo is read, encoded and answered by one thread, alone: so its answer does not depend on
what else is asked, nor in which order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from litecli import memory
from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.heads import confidence
from litecli.heads.labelled import unit_rows
from litecli.library.model_library import Model, check_same_model
from litecli.library.profile import Profile
from litecli.networks.encoder import Encoder
from litecli.networks.model_heads import profile_head
from litecli.personal import sides
from litecli.photos import images
from litecli.photos.images import LoadedPhoto
from litecli.threads import in_order

MANY = 100  # photos; from so many on,
TOGETHER = 4  # are read before they are encoded: the network's weights stay in the core's cache

Source = str | Path | tuple[str, bytes]  # a file, or a name and the bytes of a photo


@dataclass(frozen=True)
class Prediction:
    """What one photo is. `label` is the best object even when `known` is false."""

    path: str
    label: str | None  # None only with an error
    known: bool
    confidence: float  # probability of `label` among the objects
    scores: dict[str, float]  # label -> probability; they sum to 1
    nearest: str | None  # own photo most alike (cosine), relative to the profile's folder
    error: str | None = None
    novelty: float = 0.0  # the photo is unknown when this is above the threshold
    thumbnail: bytes | None = None  # a small JPEG of the photo, if asked for


def classify(
    sources: Iterable[Source],
    profile: Profile,
    model: Model,
    *,
    unknown_threshold: float | None = None,
    allow_unknown: bool = True,
    idle: Callable[[], bool] | None = None,
    thumbnails: bool = False,
) -> Iterator[Prediction]:
    """Name photos, in order and as they are read; each answer depends on its photo alone.

    A source is a file, or (name, bytes). A photo that cannot be used gives a Prediction with
    `error`. `unknown_threshold` replaces the profile's own; without `allow_unknown` every photo
    is one of the objects. `idle()` tells that the next source is not there yet: answers that are
    ready do not wait for it. Raises LiteError at once: MISSING (another model than the profile's),
    USAGE (one object and no unknown: there is nothing to decide).
    """
    check_same_model(profile, model)
    if len(profile.labels) == 1 and not allow_unknown:
        raise LiteError(
            f'There is only one object: every photo would be "{profile.labels[0]}".',
            'With "unknown" allowed, answers tell it from everything else.',
            "leave --no-unknown out, or adapt a folder with more objects",
            code=ExitCode.USAGE,
        )
    threshold = profile.unknown_threshold if unknown_threshold is None else unknown_threshold
    limit = threshold if allow_unknown else float("inf")
    answerer = _Answerer(profile, model, limit, thumbnails)
    many = isinstance(sources, Sequence) and len(sources) >= MANY
    return _answers(answerer, sources, TOGETHER if many else 1, idle)


def _answers(
    answerer: "_Answerer",
    sources: Iterable[Source],
    together: int,
    idle: Callable[[], bool] | None,
) -> Iterator[Prediction]:
    rest = iter(sources)
    groups = iter(lambda: list(islice(rest, together)), [])
    with memory.kept() if together > 1 else nullcontext():
        for answers in in_order(answerer.answer_all, groups, idle=idle):
            yield from answers


class _Answerer:
    """What all answers of one profile share."""

    def __init__(self, profile: Profile, model: Model, threshold: float, thumbnails: bool) -> None:
        self.profile, self.threshold, self.thumbnails = profile, threshold, thumbnails
        self.preprocess = model.config.preprocess
        # Half a second with 1,500 photos: meanwhile the network is loaded and a photo decoded.
        beside = ThreadPoolExecutor(1)
        self.strangeness = beside.submit(
            confidence.fit_novelty,
            profile.embeddings,
            profile.photo_labels,
            crops=profile.crops,
        )
        beside.shutdown(wait=False)
        self.encoder, self.head = Encoder(model.folder, profile.film), profile_head(profile, model)
        self.own = unit_rows(profile.embeddings)  # float32 [N, D]

    def answer_all(self, sources: Sequence[Source]) -> list[Prediction]:
        """Runs in a thread: what each photo is, or why it cannot be used."""
        return [self._answer(*seen) for seen in [self._read(source) for source in sources]]

    def _read(self, source: Source) -> tuple[str, tuple[np.ndarray, LoadedPhoto] | PhotoError]:
        name, photo = source if isinstance(source, tuple) else (str(source), Path(source))
        try:
            return name, images.load_input(photo, self.preprocess)
        except PhotoError as error:
            return name, error

    def _answer(self, name: str, seen: tuple[np.ndarray, LoadedPhoto] | PhotoError) -> Prediction:
        if isinstance(seen, PhotoError):
            return Prediction(name, None, False, 0.0, {}, None, seen.reason)
        centre, photo = seen
        profile = self.profile
        feature, novelty = self._look(centre)
        if novelty > profile.unknown_threshold:
            squares = sides.squares_of(photo.image)
            inputs = [sides.square_input(square, self.preprocess) for square in squares]
            feature, novelty = sides.look_closer((feature, novelty), inputs, self._look)
        scores = self.head.score(profile.head_params, feature)
        shares = confidence.probabilities(scores, profile.temperature)[0]
        best = int(np.argmax(shares))
        return Prediction(
            path=name,
            label=profile.labels[best],
            known=novelty <= self.threshold,
            confidence=float(shares[best]),
            scores=dict(zip(profile.labels, map(float, shares), strict=True)),
            nearest=profile.photo_paths[int(np.argmax(self.own @ feature[0]))],
            novelty=novelty,
            thumbnail=images.thumbnail_jpeg(photo.image) if self.thumbnails else None,
        )

    def _look(self, inputs: np.ndarray) -> tuple[np.ndarray, float]:
        feature = self.encoder.features(inputs)[None]  # [1, D]
        return feature, float(confidence.novelty_of(self.strangeness.result(), feature)[0])
