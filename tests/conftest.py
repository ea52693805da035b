"""What many tests share: a home of their own, a tiny model, and photos of coloured things."""

import os
import signal

# Two test processes with two threads each on two cores would wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A background job of a script is told to ignore Ctrl-C, and so would be all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import io
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from litecli import library, storage
from litecli.cli import main
from litecli.config import ModelConfig, Preprocess
from litecli.library.model_files import Model, open_model

from .small_runs import config, photos, quick, stopped

__all__ = ("config", "photos", "quick", "stopped")  # fixtures

PROGRAM = "import sys; from litecli.cli import main; sys.exit(main())"
SIDE = 32  # pixels, the tiny network's input
FEATURES = 24
COLOURS = {
    "keys": (200, 40, 40),
    "mug": (40, 180, 60),
    "bowl": (50, 70, 210),
    "wallet": (210, 190, 50),
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the data folder of whoever runs it, or depends on which models are shipped."""
    home = tmp_path / "home"
    monkeypatch.setenv("LITECLI_HOME", str(home))
    monkeypatch.setattr(storage, "shipped_models_dir", lambda: tmp_path / "none shipped")
    return home


@pytest.fixture
def tiny_model(tmp_path: Path) -> Model:
    """A model folder as litecli writes them: weights once, and a graph that points into them."""
    return open_model(write_tiny_model(tmp_path / "tiny"))


@pytest.fixture
def write_model() -> Callable[..., Path]:
    """`write_tiny_model`, for the tests that want another name or other weights."""
    return write_tiny_model


def write_tiny_model(folder: Path, name: str = "tiny", seed: int = 0) -> Path:
    """Write a random 3 x 3 convolution, a scale per channel, ReLU and mean pooling as a model."""
    rng = np.random.default_rng(seed)
    tensors = {
        "backbone.conv.weight": rng.standard_normal((FEATURES, 3, 3, 3)).astype(np.float32),
        "backbone.conv.bias": rng.standard_normal(FEATURES).astype(np.float32),
        "backbone.norm.weight": np.ones((FEATURES, 1, 1), dtype=np.float32),
        "head.log_scale": np.array(2.0, dtype=np.float32),
    }
    config = ModelConfig(name, "tiny", FEATURES, Preprocess(image_size=SIDE), head="auto")
    weights = folder / "model.safetensors"
    storage.write_tensors(weights, tensors, {"litecli": storage.to_json(config.to_dict())})
    nodes = [
        helper.make_node(
            "Conv",
            ["images", "backbone.conv.weight", "backbone.conv.bias"],
            ["maps"],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
        ),
        helper.make_node("Mul", ["maps", "backbone.norm.weight"], ["scaled"]),
        helper.make_node("Relu", ["scaled"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    offsets = storage.tensor_offsets(weights)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", FEATURES])],
        [
            external_tensor(key, tensors[key].shape, *offsets[key])
            for key in tensors
            if key.startswith("backbone.")
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "encoder.onnx").write_bytes(proto.SerializeToString())
    (folder / "README.md").write_text("# tiny\n")
    return folder


def external_tensor(
    name: str, shape: tuple[int, ...], offset: int, length: int
) -> onnx.TensorProto:
    """An initializer whose values lie in model.safetensors."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": "model.safetensors", "offset": str(offset), "length": str(length)}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def draw_photo(colour: tuple[int, int, int], seed: int) -> bytes:
    """A JPEG of a patch of one colour somewhere on grey noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 150, (60, 80, 3))
    top, left = rng.integers(5, 15), rng.integers(10, 25)
    shade = rng.integers(-15, 15, 3)
    pixels[top : top + 40, left : left + 45] = np.clip(np.array(colour) + shade, 0, 255)
    pixels[top + 8 : top + 16, left + 5 : left + 40] //= rng.integers(1, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture
def photo() -> Callable[[str, int], bytes]:
    """`photo(object, seed)`: the JPEG bytes of one view of it."""
    return lambda name, seed: draw_photo(COLOURS[name], seed)


@pytest.fixture
def write_objects(tmp_path: Path) -> Callable[..., Path]:
    """`write_objects({"keys": 5, ...})`: a folder with that many photos of each object."""

    def write(counts: Mapping[str, int], name: str = "my_objects") -> Path:
        for number, (label, count) in enumerate(counts.items()):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for index in range(count):
                data = draw_photo(COLOURS[label], 100 * number + index)
                (folder / f"IMG_{index}.jpg").write_bytes(data)
        return tmp_path / name

    return write


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """`put("my_objects/keys/a.jpg", data)`: a file and the folders above it."""

    def write(name: str, data: bytes = b"x") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def program() -> Callable[..., subprocess.Popen[str]]:
    """`program(*arguments, code=..., stdin=...)`: a real `litecli ARGUMENTS`, its pipes open."""

    def start(*arguments: str, code: str = PROGRAM, **options: Any) -> subprocess.Popen[str]:
        open_pipes = [name for name in ("stdin", "stdout", "stderr") if name not in options]
        options |= dict.fromkeys(open_pipes, subprocess.PIPE)
        return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **options)

    return start


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], own_home: Path, write_model, tmp_path, monkeypatch):
    """Run a command line with a tiny model as the current one -> (exit code, stdout, stderr)."""
    write_model(own_home / "models" / "tiny")
    library.use_model("tiny")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
