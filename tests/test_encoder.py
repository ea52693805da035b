"""The ONNX runtime gives the network's features, with the weights of model.safetensors."""

from pathlib import Path

import numpy as np
import pytest

from litecli import storage
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model
from litecli.networks.encoder import Encoder


def images(count: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, side, side)).astype(np.float32)


def slow_features(folder: Path, batch: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """The tiny network in plain numpy, from the tensors in model.safetensors."""
    tensors, _ = storage.read_tensors(folder / "model.safetensors")
    weight, bias = tensors["backbone.conv.weight"], tensors["backbone.conv.bias"]
    padded = np.pad(batch, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    maps = np.einsum("bchwij,dcij->bdhw", windows, weight) + bias[:, None, None]
    maps = maps * (tensors["backbone.norm.weight"] if scale is None else scale)
    return np.maximum(maps, 0).mean((2, 3))


def test_features_are_those_of_the_weights_file(tiny_model: Model) -> None:
    batch = images(3)
    features = Encoder(tiny_model.folder).encode(batch)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, slow_features(tiny_model.folder, batch), rtol=1e-4)


def test_film_values_replace_the_models_own(tiny_model: Model) -> None:
    batch = images(2)
    scale = np.random.default_rng(2).uniform(0.2, 3, (24, 1, 1)).astype(np.float32)
    features = Encoder(tiny_model.folder, film={"backbone.norm.weight": scale}).encode(batch)
    expected = slow_features(tiny_model.folder, batch, scale)
    np.testing.assert_allclose(features, expected, rtol=1e-4)
    assert not np.allclose(features, slow_features(tiny_model.folder, batch), rtol=1e-2)


def test_one_photo_at_a_time_gives_the_same_bits_every_time(tiny_model: Model) -> None:
    batch = images(4)
    first, second = Encoder(tiny_model.folder), Encoder(tiny_model.folder)
    forward = [first.encode(batch[k : k + 1]) for k in range(4)]
    backward = [second.encode(batch[k : k + 1]) for k in reversed(range(4))]
    assert all(np.array_equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))


@pytest.mark.parametrize("file", ["encoder.onnx", "model.safetensors"])
def test_damaged_files_are_refused_in_plain_words(
    tiny_model: Model, file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tiny_model.folder / file
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(LiteError, match="cannot be loaded") as caught:
        Encoder(tiny_model.folder)
    assert caught.value.code == ExitCode.MISSING
    assert capfd.readouterr().err == ""
