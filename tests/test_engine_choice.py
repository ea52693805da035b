"""`adapt --engine`: which one runs and where, what cannot be, and torch is loaded only if asked."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from litecli import library
from litecli.cli import engine as engines
from litecli.cli.engine import EngineName, choose_engine
from litecli.cli.options import Common
from litecli.cli.output import Output
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model
from litecli.networks import torch_encoder
from litecli.networks.passes import Engine

from .twice_looking import made, model

__all__ = ("made", "model")  # fixtures


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--engine", "onnx", "--device", "cuda"), 2, "--engine onnx runs on the processor"),
        (("--engine", "onnx", "--device", "cuda", "--dry-run"), 2, "--engine torch --device cuda"),
        (("--engine", "tensor"), 2, "tensor"),
        (("--engine", "torch", "--device", "cuda"), 6, "adapt has no CUDA device to use"),
        (("--device", "cuda"), 6, "Try: --device cpu"),
        (("--engine", "torch"), 4, "has no network tiny"),  # the model of `run` is none of timm's
    ],
)
def test_what_cannot_be(
    run, write_objects, monkeypatch: pytest.MonkeyPatch, arguments, code: int, words: str
) -> None:
    write_objects({"keys": 2, "mug": 2})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    got, out, err = run("adapt", "my_objects", *arguments)
    assert (got, out) == (code, "") and words in err and "Error: " in err
    assert library.profile_names() == []


def choose(model: Model, engine: str, device: str, photos: int) -> Engine | None:
    common = Common(Output(), device=device)
    return choose_engine(common, EngineName(engine), model, lambda: photos)


@pytest.mark.parametrize(
    ("engine", "device", "photos", "node", "there", "expected"),
    [
        ("auto", "auto", 2000, True, True, "cuda"),
        ("auto", "auto", 1999, True, True, None),
        ("auto", "auto", 2000, False, True, None),  # nothing to be seen: torch is not asked
        ("auto", "auto", 2000, True, False, None),  # a device that this torch cannot use
        ("auto", "cpu", 2000, True, True, None),
        ("auto", "mps", 2000, True, True, None),
        ("auto", "cuda", 1, False, True, "cuda"),
        ("onnx", "auto", 2000, True, True, None),
        ("torch", "auto", 1, False, True, "cuda"),
        ("torch", "auto", 1, True, False, "cpu"),
        ("torch", "cpu", 2000, True, True, "cpu"),
        ("torch", "mps", 2000, True, True, "cpu"),
    ],
)
def test_which_engine_and_where(
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    engine: str,
    device: str,
    photos: int,
    node: bool,
    there: bool,
    expected: str | None,
) -> None:
    monkeypatch.setattr(engines, "CUDA_NODES", (str(tmp_path / "none"), str(tmp_path))[: 1 + node])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr("litecli.threads.workers", lambda: 2)
    chosen = choose(model, engine, device, photos)
    if expected is None:
        assert chosen is None
    else:
        assert isinstance(chosen, Engine)
        assert chosen.together == (64 if expected == "cuda" else 1)  # of four looks each
        made: list[tuple[Model, str]] = []
        monkeypatch.setattr(torch_encoder, "TorchEncoder", lambda *of: made.append(of))
        chosen.make()
        assert made == [(model, expected)]


def test_film_is_left_to_onnx(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(tiny_model.config, film=("norm",))
    film = dataclasses.replace(tiny_model, config=config)
    monkeypatch.setattr(engines, "CUDA_NODES", (str(film.folder),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose(film, "auto", "auto", 10_000) is None
    for engine, device in (("torch", "cpu"), ("torch", "auto"), ("auto", "cuda")):
        with pytest.raises(LiteError, match="FiLM") as caught:
            choose(film, engine, device, 1)
        assert caught.value.code == ExitCode.USAGE


def test_torch_is_not_loaded_unless_asked(tiny_model: Model, write_objects, tmp_path: Path) -> None:
    folder = str(write_objects({"keys": 2, "mug": 2}))
    script = f"""
import sys
from litecli.cli import main, engine
engine.CUDA_NODES = ({folder!r},)  # as if there were a GPU, but few photos
adapt = ["adapt", {folder!r}, "-m", {str(tiny_model.folder)!r}, "-o"]
for number, more in enumerate(([], ["--engine", "onnx"], ["--device", "cpu"])):
    code = main([*adapt, f"{{number}}.safetensors", *more])
    assert code == 0, code
assert not {{"torch", "timm"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
