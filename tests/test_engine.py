"""`adapt --engine torch`: the profile that onnxruntime gives, however many photos go together."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np
import pytest
import torch

from litecli import library
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model
from litecli.networks.encoder import Encoder
from litecli.networks.passes import Engine
from litecli.networks.torch_encoder import TorchEncoder, full_chunks
from litecli.personal import personalize, predictions
from litecli.photos import images

from .twice_looking import made, model

__all__ = ("made", "model")  # fixtures

THREE = {"keys": 4, "mug": 4, "bowl": 3}


class InBatches(TorchEncoder):
    """As on CUDA: photos are encoded so many together."""

    def __init__(self, model: Model, together: int) -> None:
        super().__init__(model)
        self.engine, self.batches = Engine(lambda: self, together), list[int]()

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        return super().encode_pixels(pixels)


def photos_of(model: Model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Photos uint8 [count, 2, 32, 32, 3] of noise, and their features by onnxruntime."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 2, 32, 32, 3), np.uint8)
    inputs = images.to_input(pixels, model.config.preprocess)
    return pixels, np.stack([Encoder(model.folder).encode(photo) for photo in inputs])


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_features_are_those_of_onnxruntime(model: Model) -> None:
    pixels, expected = photos_of(model, 5)
    torch_encoder = TorchEncoder(model)
    assert largest_difference(torch_encoder.encode_pixels(pixels), expected) < 1e-5
    assert largest_difference(torch_encoder.encode_pixels(pixels[3]), expected[3]) < 1e-5
    rounded = TorchEncoder(model, bf16=True).encode_pixels(pixels)
    assert 1e-4 < largest_difference(rounded, expected) < 0.1


@pytest.mark.parametrize("together", [1, 3, 64])
def test_the_profile_is_the_same(
    model: Model, together: int, write_objects: Callable[..., Path], photo: Callable
) -> None:
    folder = write_objects(THREE)
    (folder / "keys" / "IMG_1a.jpg").write_text("<html></html>")
    (folder / "mug" / "IMG_00.jpg").write_bytes((folder / "mug" / "IMG_2.jpg").read_bytes())
    made = InBatches(model, together)
    told: list[int] = []
    expected = personalize.adapt(folder, model, name="mine")
    learned = personalize.adapt(
        folder,
        model,
        name="mine",
        engine=made.engine,
        progress=lambda done, _: told.append(done),
    )
    assert told == list(range(1, 14))
    sizes = {1: [4] * 12, 3: [3, 3, 3, 3], 64: [12]}  # alone, a photo is its four looks
    assert made.batches == sizes[together]
    profile, other = learned.profile, expected.profile
    assert (profile.photo_paths, profile.photo_hashes) == (other.photo_paths, other.photo_hashes)
    assert largest_difference(profile.embeddings, other.embeddings) < 1e-5
    assert profile.crops is not None and profile.crops.shape[1] == 4
    np.testing.assert_allclose(profile.crops, np.asarray(other.crops), atol=2e-3)
    assert profile.head == other.head and profile.thumbnails == other.thumbnails
    assert profile.unknown_threshold == pytest.approx(other.unknown_threshold, rel=1e-3)
    assert profile.temperature == pytest.approx(other.temperature, rel=1e-3)
    assert learned.objects == expected.objects and learned.forecast == expected.forecast
    assert learned.skipped == expected.skipped and len(learned.skipped) == 2
    assert (learned.embedded, learned.reused) == (11, 0) == (expected.embedded, 0)
    new = [(name, photo(name, 900 + seed)) for name in THREE for seed in range(4)]
    answers, others = (list(predictions.classify(new, p, model)) for p in (profile, other))
    for answer, twin in zip(answers, others, strict=True):
        assert (answer.label, answer.known) == (twin.label, twin.known)
        assert answer.confidence == pytest.approx(twin.confidence, abs=1e-3)


def test_only_new_photos_are_encoded_and_all_stay_in_order(
    model: Model, write_objects: Callable[..., Path], photo: Callable
) -> None:
    folder = write_objects(THREE)
    first = personalize.adapt(folder, model, name="mine")
    for label in THREE:
        (folder / label / "IMG_1b.jpg").write_bytes(photo(label, 777))
    made = InBatches(model, together=2)
    learned = personalize.adapt(
        folder, model, name="mine", previous=first.profile, engine=made.engine
    )
    assert made.batches == [2, 1] and (learned.embedded, learned.reused) == (3, 11)
    anew = personalize.adapt(folder, model, name="mine").profile
    assert learned.profile.photo_hashes == anew.photo_hashes
    assert largest_difference(learned.profile.embeddings, anew.embeddings) < 1e-5


def test_an_encoder_is_made_only_for_photos_that_are_new(
    model: Model, write_objects: Callable[..., Path]
) -> None:
    folder = write_objects(THREE)
    first = personalize.adapt(folder, model, name="mine")

    def refused() -> TorchEncoder:
        raise AssertionError("an encoder was made")

    again = personalize.adapt(
        folder, model, name="mine", previous=first.profile, engine=Engine(refused)
    )
    assert (again.embedded, again.reused) == (0, 11)


def test_photos_are_read_while_a_slow_engine_starts(
    model: Model, write_objects: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_objects(THREE)
    read, load = Semaphore(0), images.load_looks

    def counted(*arguments: Any) -> Any:
        read.release()
        return load(*arguments)

    def slow() -> TorchEncoder:
        for _ in range(11):  # all of them: it never starts before
            assert read.acquire(timeout=60)
        return TorchEncoder(model)

    monkeypatch.setattr(images, "load_looks", counted)
    learned = personalize.adapt(folder, model, name="mine", engine=Engine(slow, together=64))
    assert learned.embedded == 11


def test_features_that_are_no_numbers_are_refused(model: Model) -> None:
    nothing = dataclasses.replace(model.config.preprocess, std=(0.0, 0.0, 0.0))
    broken = dataclasses.replace(
        model, config=dataclasses.replace(model.config, preprocess=nothing)
    )
    with pytest.raises(LiteError, match="cannot be used") as caught:
        TorchEncoder(broken).encode_pixels(np.zeros((2, 32, 32, 3), np.uint8))
    assert caught.value.code == ExitCode.MISSING


@pytest.mark.parametrize(("count", "chunks"), [(1, 1), (127, 1), (128, 1), (129, 2), (256, 2)])
def test_a_gpu_gets_chunks_of_one_size(count: int, chunks: int) -> None:
    squares = torch.randint(1, 256, (count, 2, 2, 3), dtype=torch.uint8)
    found = full_chunks(squares)
    assert [len(chunk) for chunk in found] == [128] * chunks
    assert torch.equal(torch.cat(found)[:count], squares)
    assert not torch.cat(found)[count:].any()


def test_an_encoder_leaves_torchs_settings_as_they_were(model: Model) -> None:
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_num_threads(2)
        torch.backends.cudnn.allow_tf32 = True
        TorchEncoder(model).encode_pixels(np.zeros((2, 32, 32, 3), np.uint8))
        assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (2, True)
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_the_command_line_adapts_with_torch(run, made: Path, write_objects) -> None:
    write_objects(THREE)
    code, out, err = run(
        "adapt", "my_objects", "-m", made, "--engine", "torch", "--device", "cpu", "-v", "--json"
    )
    assert code == 0 and json.loads(out)["embedded"] == 11
    assert "torch runs the network, on cpu" in err
    by_torch = library.load_profile("my_objects").embeddings
    code, _, err = run("adapt", "my_objects", "-m", made, "--engine", "onnx", "-v", "-n", "other")
    assert code == 0 and "torch" not in err
    by_onnx = library.load_profile("other").embeddings
    assert 0 < largest_difference(by_torch, by_onnx) < 1e-5  # two engines, not one twice


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_features_stay_within_a_thousandth(model: Model) -> None:
    pixels, expected = photos_of(model, 70)
    found = TorchEncoder(model, "cuda").encode_pixels(pixels)
    assert largest_difference(found, expected) < 1e-3
