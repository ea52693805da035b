"""The models that come with litecli: whole, small, described truly, and of use."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from litecli.cli.train_config import read_toml
from litecli.config import TrainConfig
from litecli.drawn import scenes
from litecli.library.model_files import open_model
from litecli.networks.encoder import Encoder
from litecli.networks.model_folder import load_model
from litecli.personal.personalize import adapt
from litecli.personal.predictions import classify

MODELS = Path(__file__).parent.parent / "models"
FOLDERS = sorted(path for path in MODELS.iterdir() if path.is_dir())
MOST_BYTES = 12_000_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_shipped_model_is_whole_small_and_described(folder: Path) -> None:
    assert open_model(folder).name == folder.name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES
    first = min(folder.glob("recipe*.toml"))  # recipe-1.toml comes before recipe.toml
    assert read_toml(first, TrainConfig()).weights == "none"
    card = (folder / "README.md").read_text(encoding="utf-8")
    for name in ("model.safetensors", "encoder.onnx"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in card


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_its_graph_and_its_torch_network_agree(folder: Path) -> None:
    model = open_model(folder)
    side = model.config.preprocess.image_size
    images = np.random.default_rng(0).standard_normal((2, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        expected = load_model(folder, model.config).network(torch.from_numpy(images)).numpy()
    found = Encoder(folder).encode(images)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_it_tells_drawn_objects_apart(folder: Path, tmp_path: Path) -> None:
    model = open_model(folder)
    objects = scenes.OBJECTS[:4]
    scenes.write_folder(tmp_path / "learn", objects, 4, seed=0)
    new = scenes.write_folder(tmp_path / "new", objects, 4, seed=1)
    profile = adapt(tmp_path / "learn", model, name="drawn").profile
    answers = classify(new, profile, model, allow_unknown=False)
    right = [Path(answer.path).parent.name == answer.label for answer in answers]
    assert len(right) == 16 and np.mean(right) >= 0.5  # by chance: 0.25
