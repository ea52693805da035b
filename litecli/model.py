"""A few-shot model: network, head and learned scale together, and its folder on disk."""

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli import backbone as backbones
from litecli import graph, storage
from litecli import weights as weight_files
from litecli.backbone import Backbone
from litecli.config import MODEL_KEY, NAMED_NETWORKS, OPEN_LICENCES, ModelConfig
from litecli.encoder import Encoder
from litecli.errors import ExitCode, LiteError
from litecli.heads import HEADS

AGREEMENT = 1e-3  # largest difference of features, torch against ONNX, per unit of their length


class FewShotModel(nn.Module):
    """ProtoNets (Snell et al., 2017) or R2-D2 ridge (Bertinetto et al., 2019) on a timm network.

    The network stays in evaluation mode: batch statistics are frozen and no layer draws random
    numbers, so an image's features never depend on its neighbours.
    """

    def __init__(self, backbone: Backbone, head: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.network = backbone.network.eval()
        self.head = head
        # Cosines and ridge outputs live within -1 to 1: a softmax needs them stretched.
        start = 1.0 if head == "euclidean" else 10.0
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)))

    def train(self, mode: bool = True) -> "FewShotModel":
        """Training mode concerns gradients only; the layers stay in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def features(self, images: Tensor, bf16: bool = False) -> Tensor:
        """float32 features [B, D] of images [B, 3, S, S], computed on the model's device."""
        device = self.log_scale.device
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            features = self.network(images)
        return features.float()

    def fit(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The head's parameters of one task, and the scale: differentiable in `features` [N, D]."""
        options = {"lam": 0.1} if self.head == "ridge" else {}
        fitted = HEADS[self.head].fit(
            features, labels, int(labels.max()) + 1, strength=0.0, **options
        )
        return {**fitted, "scale": self.log_scale.exp()}

    def summed_loss(self, fitted: dict[str, Tensor], queries: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy summed over a query batch [M, D] with labels [M]."""
        params = {name: value for name, value in fitted.items() if name != "scale"}
        scores = HEADS[self.head].score(params, queries) * fitted["scale"]
        return functional.cross_entropy(scores, labels, reduction="sum")


def write_model(
    model: FewShotModel, config: ModelConfig, folder: Path, texts: dict[str, str]
) -> None:
    """Write a model folder: weights, graph, and `texts` (file name -> content: recipe, card).

    The graph is checked against torch before anything is replaced; raises LiteError (MACHINE)
    when they disagree.
    """
    network = model.network.float().cpu()
    proto = graph.export(network, config.preprocess.image_size)
    tensors = {
        graph.PREFIX + name: value.numpy()
        for name, value in weight_files.counted_out(network.state_dict()).items()
    }
    shared = graph.shared_tensors(proto)
    tensors |= {name: value for name, value in shared.items() if name not in tensors}
    tensors["head.log_scale"] = model.log_scale.detach().cpu().numpy()
    metadata = {MODEL_KEY: json.dumps(config.to_dict(), sort_keys=True)}
    weights = storage.tensor_bytes(tensors, metadata)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / graph.WEIGHTS_FILE).write_bytes(weights)
        encoder = graph.point_into(proto, scratch / graph.WEIGHTS_FILE)
        (scratch / "encoder.onnx").write_bytes(encoder)
        check_graph(network, scratch, config.preprocess.image_size)
    contents = {folder / graph.WEIGHTS_FILE: weights, folder / "encoder.onnx": encoder}
    contents |= {folder / name: text.encode() for name, text in texts.items()}
    storage.write_together(contents, what=f"model {config.name}")


def check_graph(network: nn.Module, folder: Path, image_size: int) -> float:
    """Compare encoder.onnx with the torch network on noise; return the relative difference."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 3, image_size, image_size)).astype(np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images)).numpy()
    found = Encoder(folder).encode(images)
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not difference < AGREEMENT:
        raise LiteError(
            f"The exported network differs from the trained one by {difference:.1e}.",
            "Its photos would be named differently than in training; nothing was written.",
            "another --backbone, or report this network",
            code=ExitCode.MACHINE,
        )
    return difference


def load_model(folder: Path, config: ModelConfig) -> FewShotModel:
    """The torch model of a model folder; LiteError (MISSING) when its weights do not fit."""
    described = backbones.from_model(folder, config)
    model = FewShotModel(described, "cosine" if config.head == "auto" else config.head)
    tensors, _ = storage.read_tensors(folder / graph.WEIGHTS_FILE)
    with torch.no_grad():
        model.log_scale.copy_(torch.from_numpy(tensors["head.log_scale"]))
    return model


def model_config(name: str, model: FewShotModel, learner: str, head: str) -> ModelConfig:
    """The config that a model folder of this model carries."""
    described = model.backbone
    return ModelConfig(
        name=name,
        architecture=described.architecture,
        architecture_args=described.architecture_args,
        num_features=described.num_features,
        preprocess=described.preprocess,
        learner=learner,
        head=head,
        licence=described.licence,
        origin=described.origin,
    )


def fetch(
    name: str,
    folder: Path,
    weights: str = "auto",
    head: str = "auto",
    image_size: int | None = None,
    offline: bool = False,
    accept_licence: bool = False,
) -> ModelConfig:
    """Make a model folder of a timm pretrained network (`litecli models fetch`).

    `name` is a timm name or a key of config.NAMED_NETWORKS. Raises LiteError as `backbone.build`
    does, and USAGE before any download when the weights' licence has to be accepted.
    """
    if name in NAMED_NETWORKS:
        name, own_size = NAMED_NETWORKS[name]
        image_size = image_size or own_size
    if weights == "auto":
        _check_licence(name, accept_licence)
    described = backbones.build(name, weights, image_size, offline)
    model = FewShotModel(described, "cosine" if head == "auto" else head)
    config = model_config(folder.name, model, "protonets", head)
    write_model(model, config, folder, {"README.md": _fetched_card(config)})
    return config


def _check_licence(name: str, accepted: bool) -> None:
    if not name.startswith("hf-hub:"):
        backbones.check_name(name)
    licence = backbones.licence_of(name)
    if licence not in OPEN_LICENCES and not accepted:
        raise LiteError(
            f"The weights of {name} have a licence of their own: {licence}.",
            f"Read it on their page: https://huggingface.co/timm/{name}",
            "the same command with --accept-license",
            code=ExitCode.USAGE,
        )


def _fetched_card(config: ModelConfig) -> str:
    return (
        f"# {config.name}\n\n"
        f"{config.architecture} as it comes, not meta-trained: {config.origin}.\n"
        f"Features {config.num_features}, image size {config.preprocess.image_size} px, "
        f"head {config.head}.\nLicence of the weights: {config.licence}.\n"
    )
