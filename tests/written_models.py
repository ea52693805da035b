"""Model folders of networks whose every value is random, and the small one of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from litecli.library.model_files import Model, open_model
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import model_config, write_model


@dataclass(frozen=True)
class Written:
    """A network whose every value is random, norm statistics included, and its model folder."""

    model: FewShotModel
    folder: Path
    opened: Model

    @property
    def side(self) -> int:
        return self.opened.config.preprocess.image_size

    def torch_features(self, images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.model.features(torch.from_numpy(images)).numpy()

    def images(self, count: int, seed: int = 1) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.standard_normal((count, 3, self.side, self.side)).astype(np.float32)


def build_random(name: str, side: int) -> FewShotModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FewShotModel(backbone.build(name, "none", side), "cosine")
        for module in model.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
                torch.nn.init.uniform_(module.running_var, 0.8, 1.2)  # type: ignore[arg-type]
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.1)
        for name, parameter in model.network.named_parameters():
            if name.endswith("gamma"):  # layer scale: at its start of 1e-6 a block does nothing
                torch.nn.init.uniform_(parameter, 0.2, 0.5)
    torch.nn.init.constant_(model.log_scale, 1.25)
    return model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Written:
    model = build_random("test_byobnet", 32)
    folder = tmp_path_factory.mktemp("models") / "small"
    write_model(model, model_config("small", model, "protonets", "ridge"), folder, {})
    return Written(model, folder, open_model(folder))
