"""FiLM where there is no torch: a support set gives the network's norm layers new values.

The set encoder looks at every photo; the mean of its outputs becomes norm parameters
(generator.py), which take the place of the network's own before its graph is optimised. So photos
are needed twice, and are decoded once: in between they wait as squares, in memory or, when they
are many, in a temporary file.
"""

import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from litecli.config import BACKBONE_PREFIX, TASK_GRAPH
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model
from litecli.library.model_tensors import model_tensors, unfit
from litecli.networks.encoder import Encoder
from litecli.networks.generator import FilmLayer, film_values
from litecli.photos.images import to_input
from litecli.threads import in_order

SQUARES_IN_MEMORY = 256_000_000  # bytes; at 224 px, the squares of 1,700 photos
_PREFIX = "generator."  # of the generator's tensors in a model file
_PARTS = (
    *("inner_weight", "inner_bias", "norm_weight", "norm_bias"),
    *("outer_weight", "outer_bias", "strength", "vector_of_channel"),
)


class FirstLook:
    """The set encoder's outputs for photos, by their hashes, and the photos' squares.

    Raises LiteError (MISSING) when the model's task.onnx cannot be loaded.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._set_encoder = Encoder(model.folder, graph=TASK_GRAPH)
        self._outputs: dict[str, np.ndarray] = {}  # in the order of the squares
        self._squares = tempfile.SpooledTemporaryFile(max_size=SQUARES_IN_MEMORY)  # noqa: SIM115
        side = model.config.preprocess.image_size
        self._shape = (side, side, 3)

    def __contains__(self, photo_hash: str) -> bool:
        return photo_hash in self._outputs

    def see(self, pixels: np.ndarray) -> np.ndarray:
        """The set encoder's output [64] for a photo as the network's input [3, S, S]."""
        return self._set_encoder.encode(pixels[None])[0]

    def add(self, photo_hash: str, square: np.ndarray, output: np.ndarray) -> None:
        """Keep a photo, uint8 [S, S, 3], and what `see` said of it.

        Raises LiteError (MACHINE) when there is no room for the squares of so many photos.
        """
        try:
            self._squares.write(square.tobytes())
        except OSError as error:
            raise LiteError(
                f"No room for temporary files in {tempfile.gettempdir()}.",
                "So many photos are kept there, decoded, until they are learned.",
                "--max-photos 50, or set TMPDIR to a folder on a larger disk",
                code=ExitCode.MACHINE,
            ) from error
        self._outputs[photo_hash] = output

    def norms(self, photo_hashes: Iterable[str]) -> dict[str, np.ndarray]:
        """The network's norm parameters for these photos; see `folded_norms`."""
        # Sorted: the same photos give the same bits, whatever their names.
        outputs = [self._outputs[photo_hash] for photo_hash in sorted(photo_hashes)]
        return folded_norms(self.model, np.stack(outputs))

    def features(
        self, norms: dict[str, np.ndarray], photo_hashes: Iterable[str]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Each photo's hash and features [D] by the network with these norm parameters."""
        wanted = set(photo_hashes)
        encoder = Encoder(self.model.folder, norms)
        order = [photo_hash for photo_hash in self._outputs if photo_hash in wanted]

        def embed(square: np.ndarray) -> np.ndarray:
            return encoder.encode(to_input(square, self.model.config.preprocess)[None])[0]

        embedded = in_order(embed, self._read(order))
        yield from zip(order, embedded, strict=True)

    def close(self) -> None:
        """Delete the squares."""
        self._squares.close()

    def _read(self, order: list[str]) -> Iterator[np.ndarray]:
        size = int(np.prod(self._shape))
        number = {photo_hash: index for index, photo_hash in enumerate(self._outputs)}
        for photo_hash in order:
            self._squares.seek(number[photo_hash] * size)
            yield np.frombuffer(self._squares.read(size), np.uint8).reshape(self._shape)


def folded_norms(model: Model, outputs: np.ndarray) -> dict[str, np.ndarray]:
    """Norm parameters by their names in the model file, from set encoder's outputs [N, 64].

    Raises LiteError (MISSING) when the model's file lacks one of the tensors this takes, or they
    do not fit together.
    """
    parameters = model_tensors(model, _PREFIX, _PARTS)
    weights = [f"{name}.weight" for name in model.config.film]
    biases = [f"{name}.bias" for name in model.config.film]
    norms = model_tensors(model, BACKBONE_PREFIX, weights, optional=biases)
    layers = [
        FilmLayer(name, kind="", channels=len(norms[weight]), bias=bias in norms)
        for name, weight, bias in zip(model.config.film, weights, biases, strict=True)
    ]
    try:
        values = film_values(layers, parameters, norms, outputs)
    except (ValueError, IndexError, TypeError) as error:
        raise unfit(model) from error
    if not all(np.isfinite(value).all() for value in values.values()):
        raise unfit(model)
    return {BACKBONE_PREFIX + name: value for name, value in values.items()}
