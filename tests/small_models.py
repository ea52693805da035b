"""Small models that more than one test file needs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from litecli import storage
from litecli.config import ModelConfig, Preprocess
from litecli.library.model_files import Model, open_model
from litecli.networks import backbone, model_folder
from litecli.networks.film import film_layers
from litecli.networks.model import FewShotModel

SIDE = 32  # pixels


def build_cnaps() -> FewShotModel:
    """A CNAPs model whose norms, generator and head all do something: some of it starts at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = FewShotModel(backbone.build("test_byobnet", "none", SIDE), "generated", film=True)
        parameters = dict(model.network.named_parameters())
        for layer in film_layers(model.network):
            nn.init.uniform_(parameters[f"{layer.name}.weight"], 0.5, 1.5)
            nn.init.normal_(parameters[f"{layer.name}.bias"], 0, 0.1)
        assert model.generator is not None and model.head_generator is not None
        for parameter in model.generator.parameters():
            nn.init.normal_(parameter, std=0.3)
        nn.init.normal_(model.head_generator.outer_weight, std=0.05)
    return model


def write_network(folder: Path, seed: int = 0) -> Model:
    """A model folder with a timm network's random weights, and a graph that nothing may ask."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = backbone.build("test_byobnet", "none", SIDE)
    config = ModelConfig(
        f"network {seed}", built.architecture, built.num_features, Preprocess(SIDE)
    )
    state = built.network.state_dict()
    tensors = {f"backbone.{name}": value.numpy() for name, value in state.items()}
    header = {"litecli": storage.to_json(config.to_dict())}
    storage.write_tensors(folder / "model.safetensors", tensors, header)
    (folder / "encoder.onnx").write_bytes(b"not asked")
    return open_model(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network that looks at each photo twice."""
    folder = tmp_path_factory.mktemp("models") / "made"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model_folder.fetch("test_byobnet", folder, "none", image_size=32, closer_looks=(0.5,))
    return folder


@pytest.fixture
def model(made: Path) -> Model:
    return open_model(made)
