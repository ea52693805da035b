"""The tensors of a model that are needed beside its graphs, read without torch."""

from collections.abc import Sequence

import numpy as np

from litecli import storage
from litecli.config import WEIGHTS_FILE
from litecli.errors import LiteError
from litecli.library.model_files import Model, damaged_model, incomplete_model


def model_tensors(
    model: Model, prefix: str, parts: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The tensors called `prefix` + part in a model's file, by part; `optional` if it has them.

    Raises LiteError (MISSING) when one of `parts` is not there.
    """
    wanted = {prefix + part: part for part in (*parts, *optional)}
    tensors, _ = storage.read_tensors(model.folder / WEIGHTS_FILE, wanted)
    missing = [prefix + part for part in parts if prefix + part not in tensors]
    if missing:
        raise incomplete_model(model.folder, missing[0])
    return {wanted[name]: tensor for name, tensor in tensors.items()}


def unfit(model: Model) -> LiteError:
    """The error of a model whose tensors are there but cannot belong together."""
    return damaged_model(model.folder, "The numbers in its file do not fit together.")
