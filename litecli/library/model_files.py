"""One model's folder, opened without torch: which files it has, and what its config says.

A model is a folder: model.safetensors (its config is JSON in the header), encoder.onnx (the graph
alone; its weights are in model.safetensors), with FiLM task.onnx (the same of the set encoder),
recipe.toml, README.md (the card).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from litecli import storage
from litecli.config import (
    ENCODER_GRAPH,
    MODEL_KEY,
    MODEL_SCHEMA,
    TASK_GRAPH,
    WEIGHTS_FILE,
    ModelConfig,
)
from litecli.errors import ExitCode, LiteError
from litecli.library.data_folder import is_file, quoted

_FILES = (WEIGHTS_FILE, ENCODER_GRAPH)  # the fingerprint is over these
_AGAIN = "fetch or add it again: litecli models --help"


@dataclass(frozen=True)
class Model:
    """A model that can be used: its folder was found and its config was read."""

    name: str
    folder: Path
    config: ModelConfig
    fingerprint: str  # sha256 over model.safetensors and the graphs
    named: bool = True  # False: used by its folder, and found again only there


def open_model(folder: Path, name: str | None = None) -> Model:
    """The model in a folder; its name is the config's unless given.

    Raises LiteError (MISSING): a file is absent or damaged, or a newer litecli wrote the model.
    """
    for file in _FILES:
        _check_file(folder, file)
    config = read_config(folder)
    files = (*_FILES, TASK_GRAPH) if config.film else _FILES
    _check_file(folder, files[-1])
    fingerprint = storage.files_sha256([folder / file for file in files])
    return Model(name or config.name, folder, config, fingerprint, named=name is not None)


def architecture_in(folder: Path) -> str | None:
    """What network a folder holds the weights of, a litecli model's or timm's; None: neither."""
    try:
        described = folder / "config.json"
        if described.exists():  # timm's local directory
            architecture = json.loads(described.read_text(encoding="utf-8"))["architecture"]
            return architecture if isinstance(architecture, str) else None
        return read_config(folder).architecture
    except (LiteError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def has_projection(folder: Path) -> bool:
    """Whether a folder holds a litecli model with a projection behind its network."""
    if (folder / "config.json").exists():  # timm's local directory
        return False
    try:
        return read_config(folder).projected
    except LiteError:
        return False


def read_config(folder: Path) -> ModelConfig:
    """What a model folder says of itself.

    Raises LiteError (MISSING): its file is absent or damaged, or a newer litecli wrote the model.
    """
    header = storage.read_metadata(folder / WEIGHTS_FILE).get(MODEL_KEY, "null")
    try:
        data = json.loads(header)
        newer = data.get("schema", 0) > MODEL_SCHEMA
        config = None if newer else ModelConfig.from_dict(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged_model(folder, f"Its description cannot be read ({error}).") from error
    if config is None:
        raise LiteError(
            f"The model in {folder} was made by a newer litecli.",
            fix="pip install --upgrade litecli",
            code=ExitCode.MISSING,
        )
    return config


def damaged_model(folder: Path, why: str) -> LiteError:
    """The error (MISSING) of a model whose files are there but cannot be right."""
    what = f"The model in {folder} is damaged."
    return LiteError(what, why, _AGAIN, code=ExitCode.MISSING)


def incomplete_model(folder: Path, tensor: str) -> LiteError:
    """The error (MISSING) of a model whose file lacks a tensor."""
    what = f"The model in {folder} has no {tensor}."
    why = "Its config promises more than its file holds."
    return LiteError(what, why, _AGAIN, code=ExitCode.MISSING)


def unusable_model(folder: Path, how: str, why: str) -> LiteError:
    """The error (MISSING) of a model that cannot be loaded, run or used, which is `how`."""
    return LiteError(
        f"The model in {folder} cannot be {how}.",
        why,
        "litecli models list   (and pick another: litecli models use NAME)",
        code=ExitCode.MISSING,
    )


def _check_file(folder: Path, file: str) -> None:
    if not is_file(folder / file):
        inner = folder / "model"
        raise LiteError(
            f"{folder} is not a model: it has no {file}.",
            "A model is a folder with model.safetensors and encoder.onnx, with FiLM task.onnx too.",
            f"litecli models add {quoted(inner)}"
            if is_file(inner / file)
            else "litecli models list, or make one: litecli models fetch small",
            code=ExitCode.MISSING,
        )
