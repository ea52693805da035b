"""A model folder for the tests of engines: a network that looks at each photo more than once."""

from pathlib import Path

import pytest
import torch

from litecli.library.model_files import Model, open_model
from litecli.networks import model_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network that looks at each photo twice, and four times at photos to learn from."""
    folder = tmp_path_factory.mktemp("models") / "made"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model_folder.fetch(
            "test_byobnet", folder, "none", image_size=32, closer_looks=(0.5,), support_looks=2
        )
    return folder


@pytest.fixture
def model(made: Path) -> Model:
    return open_model(made)
