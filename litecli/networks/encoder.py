"""A model's networks as ONNX graphs: images -> features. The only file that knows onnxruntime.

One photo runs on one thread, its looks as one batch: many threads that each take a photo of their
own get more done than many threads at one, and a feature's last bits do not depend on the cores.
A profile's FiLM values replace the graph's own initializers before it is optimised, so that
convolution and norm still fuse: a personal network costs what the plain one costs.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from litecli.config import ENCODER_GRAPH
from litecli.library.model_files import unusable_model


class Encoder:
    """Features of images by a network of one model folder, on the CPU; any thread may call it.

    `film`: initializer name -> new value (same shape and type as the graph's own, which must be
    external data). `graph`: the network's, or TASK_GRAPH for the set encoder.
    Raises LiteError (MISSING) when the graph or its weights cannot be loaded.
    """

    def __init__(
        self,
        model_folder: Path,
        film: Mapping[str, np.ndarray] | None = None,
        graph: str = ENCODER_GRAPH,
    ) -> None:
        self._folder = model_folder
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions; nothing goes to stderr
        options.intra_op_num_threads = 1
        self._film = {  # the session reads these; they must live as long as it does
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value))
            for name, value in (film or {}).items()
        }
        if self._film:
            options.add_external_initializers(list(self._film), list(self._film.values()))
        try:
            self._session = onnxruntime.InferenceSession(
                str(model_folder / graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise unusable_model(model_folder, "loaded", _first_line(error)) from error

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Features float32 [B, D] of images float32 [B, 3, S, S]; raises LiteError (MISSING)."""
        try:
            (features,) = self._session.run(["features"], {"images": images})
        except Exception as error:  # as above
            raise unusable_model(self._folder, "run", _first_line(error)) from error
        features = np.asarray(features)
        if features.ndim != 2 or len(features) != len(images) or not np.isfinite(features).all():
            why = "Its features contain NaN or infinity, or are not one row an image."
            raise unusable_model(self._folder, "used", why)
        return features

    def features(self, looks: np.ndarray) -> np.ndarray:
        """Features float32 [D] of one photo, the mean over its looks [looks, 3, S, S]."""
        return self.encode(looks).mean(axis=0)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
