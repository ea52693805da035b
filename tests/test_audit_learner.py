"""Whom the audit examines: a model's own learner as it is, or another that is new by its seed."""

from pathlib import Path

import pytest
import torch

from litecli import storage
from litecli.audit.learner import open_learner
from litecli.audit.settings import AUDITED
from litecli.config import BACKBONE_PREFIX, MODEL_KEY
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model, open_model
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import model_config


def write_model_folder(
    folder: Path, learner: str = "protonets", network: str = "test_resnet", side: int = 64
) -> Model:
    """A model folder whose network is timm's own tiny one for tests, without a graph to run."""
    built = backbone.build(network, "none", side)
    model = FewShotModel(built, "cosine")
    config = model_config(folder.name, model, learner, "cosine")
    tensors = {BACKBONE_PREFIX + n: v.numpy() for n, v in built.network.state_dict().items()}
    tensors["head.log_scale"] = model.log_scale.detach().numpy()
    metadata = {MODEL_KEY: storage.to_json(config.to_dict())}
    storage.write_tensors(folder / "model.safetensors", tensors, metadata)
    (folder / "encoder.onnx").write_bytes(b"")
    return open_model(folder)


def test_a_models_own_learner_is_examined_as_it_is(tmp_path: Path) -> None:
    found = write_model_folder(tmp_path / "tiny")
    model, new = open_learner(found)
    assert not new and not model.has_film and model.head == "cosine"
    assert model.backbone.preprocess.image_size == 64
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert open_learner(found, "protonets")[1] is False
    assert open_learner(found, image_size=96)[0].backbone.preprocess.image_size == 96


@pytest.mark.parametrize(("learner", "head"), [("simple-cnaps", "mahalanobis"), ("ridge", "ridge")])
def test_another_learner_is_new_and_random_by_its_seed(
    learner: str, head: str, tmp_path: Path
) -> None:
    found = write_model_folder(tmp_path / "tiny")
    (model, new), (same, _), (other, _) = (open_learner(found, learner, seed=s) for s in (0, 0, 1))
    assert new and model.head == head
    film = learner == "simple-cnaps"
    assert model.has_film is film
    # As meta-train has it by default: FiLM steers a network that stays as it is.
    assert all(p.requires_grad is not film for p in model.network.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    if film:
        assert model.generator is not None and other.generator is not None
        assert not torch.equal(model.generator.strength, other.generator.strength)
        values = model.generate(torch.randn(4, 64))
        own = dict(model.network.named_parameters())
        assert any((values[name] - own[name]).abs().max() > 0.01 for name in values)


def test_a_network_of_one_size_keeps_it(tmp_path: Path) -> None:
    found = write_model_folder(tmp_path / "tiny", network="vit_tiny_patch16_224", side=96)
    assert open_learner(found)[0].backbone.preprocess.image_size == 96
    with pytest.raises(LiteError, match="cannot see images of 80 px") as caught:
        open_learner(found, image_size=80)
    assert caught.value.code == ExitCode.USAGE and caught.value.fix == "--image-size 96"


def test_maml_is_refused(tmp_path: Path) -> None:
    found = write_model_folder(tmp_path / "tiny", learner="maml")
    for learner in (None, "maml"):
        with pytest.raises(LiteError, match="maml has no support gradient") as caught:
            open_learner(found, learner)
        assert caught.value.code == ExitCode.USAGE
    assert "maml" not in AUDITED
