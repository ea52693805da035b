"""What a model's networks make of photos, one at a time or many together, and how long it takes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.heads.labelled import unit_rows
from litecli.library.model_files import Model, damaged_model
from litecli.threads import in_order, workers

if TYPE_CHECKING:
    from litecli.networks.encoder import Encoder
    from litecli.networks.folding import FirstLook


@dataclass(frozen=True)
class Photo:
    """A photo's content, whatever its name: what a profile keeps of it."""

    hash: str  # sha256 of the file's bytes
    greys: np.ndarray  # int8 [256]; see same_shot.greys_of
    notes: tuple[str, ...]  # "dark", "very small", ...
    thumbnail: bytes | None  # JPEG
    embedding: np.ndarray | None = None  # float32 [D]; with FiLM it comes last
    # Where there are several looks, their features at length 1, in half the bytes: float16
    # [looks, D], support looks last. They are only learned from, and only their directions.
    crops: np.ndarray | None = None
    first_look: np.ndarray | None = None  # with FiLM, until then: what the set encoder says of it,
    square: np.ndarray | None = None  # and what it saw, uint8 [S, S, 3]
    pixels: np.ndarray | None = None  # uint8 [looks, S, S, 3], until encoded with others


class PixelEncoder(Protocol):
    """A network that takes pixels, a quarter of the bytes of its inputs; any thread may call it."""

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [..., looks, D] of photos uint8 [..., looks, S, S, 3]."""
        ...


@dataclass(frozen=True)
class Engine:
    """What runs a network in place of onnxruntime."""

    make: Callable[[], PixelEncoder]  # called in a thread, when the first photo is to be encoded
    together: int = 1  # photos that it is best given at once; 1: each thread encodes its own


class Network:
    """A model's passes over photos, timed; its graphs are not loaded when nothing is new."""

    def __init__(self, model: Model, engine: Engine | None) -> None:
        self.model = model
        self._engine = engine
        self._together = engine.together if engine else 1
        self.passes = 2 if model.config.film else 1
        self.seconds = 0.0  # of all threads together
        self._encoder: Encoder | None = None
        self._pixel_encoder: PixelEncoder | None = None
        self._first_look: FirstLook | None = None
        self._lock = Lock()
        self._loader = ThreadPoolExecutor(1)
        self._loading: Future[None] | None = None

    def begin(self) -> None:
        """Load the graph, if nobody has: in a thread of its own, while photos are read."""
        with self._lock:
            self._loading = self._loading or self._loader.submit(self._load)

    def _load(self) -> None:
        # onnxruntime is imported only here: a folder that has nothing new needs none of it.
        if self.model.config.film:
            from litecli.networks.folding import FirstLook

            self._first_look = FirstLook(self.model)
        elif self._engine:
            self._pixel_encoder = self._engine.make()
        else:
            from litecli.networks.encoder import Encoder

            self._encoder = Encoder(self.model.folder)

    def _wait_for_graph(self) -> None:
        self.begin()
        assert self._loading is not None
        self._loading.result()

    def see(self, photo: Photo, looks: np.ndarray, inputs: np.ndarray) -> Photo:
        """Runs in a thread: a photo with its features, or with what `encoded` or `keep` needs.

        Its looks come as uint8 [looks, S, S, 3] and as inputs, float32 [looks, 3, S, S].
        """
        if self._together > 1:
            self.begin()
            return replace(photo, pixels=looks)
        self._wait_for_graph()
        began = time.perf_counter()
        if self._encoder:
            photo = self._seen(photo, self._encoder.encode(inputs))
        elif self._pixel_encoder:
            photo = self._seen(photo, self._pixel_encoder.encode_pixels(looks))
        elif self._first_look:
            photo = replace(photo, first_look=self._first_look.see(inputs[0]), square=looks[0])
        with self._lock:
            self.seconds += time.perf_counter() - began
        return photo

    def encoded(self, photos: Iterable[Photo | PhotoError]) -> Iterator[Photo | PhotoError]:
        """The same in order; those that `see` left to be encoded together now have features."""
        held: list[Photo | PhotoError] = []
        waiting = 0
        for photo in photos:
            held.append(photo)
            waiting += isinstance(photo, Photo) and photo.pixels is not None
            if not waiting or waiting == self._together:
                yield from self._encoded_together(held)
                held, waiting = [], 0
        yield from self._encoded_together(held)

    def _encoded_together(self, photos: list[Photo | PhotoError]) -> Iterator[Photo | PhotoError]:
        pixels = [one.pixels for one in photos if isinstance(one, Photo) and one.pixels is not None]
        if not pixels:
            yield from photos
            return
        self._wait_for_graph()
        assert self._pixel_encoder is not None
        began = time.perf_counter()
        features = iter(self._pixel_encoder.encode_pixels(np.stack(pixels)))
        self.seconds += (time.perf_counter() - began) * workers()
        for photo in photos:
            if isinstance(photo, Photo) and photo.pixels is not None:
                photo = self._seen(replace(photo, pixels=None), next(features))
            yield photo

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
        self._wait_for_graph()
        look = self._first_look
        assert look is not None
        late = [photo_hash for photo_hash in photos if photo_hash not in look]
        again = in_order(read, [paths[photo_hash] for photo_hash in late])
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
        self.seconds += (time.perf_counter() - began) * workers()
        return film, embedded

    def close(self) -> None:
        """Delete what was kept on disk for `fold`."""
        self._loader.shutdown()
        if self._first_look is not None:
            self._first_look.close()

    def _seen(self, photo: Photo, features: np.ndarray) -> Photo:
        """The photo with the features [looks, D] of its looks, support looks after the others."""
        if features.shape[1] == self.model.config.num_features:
            several = len(features) > 1
            crops = unit_rows(features).astype(np.float16) if several else None
            own = features[: len(self.model.config.preprocess.look_shares)]
            return replace(photo, embedding=own.mean(axis=0), crops=crops)
        why = f"Its features are {features.shape[1]} numbers, not what its config promises."
        raise damaged_model(self.model.folder, why)
