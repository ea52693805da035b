"""A model's folder on disk: written and checked against torch, read back, fetched.

A folder holds model.safetensors (every weight, and the config as JSON in its header), encoder.onnx
(the network's graph alone), with FiLM task.onnx (the set encoder's), recipe.toml and README.md.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from litecli import storage
from litecli.config import (
    ENCODER_GRAPH,
    MODEL_KEY,
    TASK_GRAPH,
    WEIGHTS_FILE,
    ModelConfig,
    head_of_learner,
)
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import incomplete_model
from litecli.networks import backbone as backbones
from litecli.networks import graph, timm_networks
from litecli.networks import weights as weight_files
from litecli.networks.encoder import Encoder
from litecli.networks.film import film_layers
from litecli.networks.model import FewShotModel
from litecli.networks.strangers import STRANGERS, stranger_inputs, stranger_tensor

FILE_NAMES = {"log_scale": "head.log_scale"}  # of tensors that are called otherwise in the file
AGREEMENT = 1e-3  # largest difference, torch against ONNX, as a share of the largest feature


def write_model(
    model: FewShotModel, config: ModelConfig, folder: Path, texts: dict[str, str]
) -> None:
    """Write a model folder: weights, graphs, and `texts` (file name -> content: recipe, card).

    The graphs are checked against torch before anything is replaced; raises LiteError (MACHINE)
    when they disagree.
    """
    network, image_size = model.network.float().cpu(), config.preprocess.image_size
    protos = {ENCODER_GRAPH: graph.export(network, image_size)}
    if model.set_encoder is not None:
        set_encoder = model.set_encoder.float().cpu()
        protos[TASK_GRAPH] = graph.export(set_encoder, image_size, graph.SET_PREFIX)
    tensors = {
        graph.PREFIX + name: value.numpy()
        for name, value in weight_files.without_counters(network.state_dict()).items()
    }
    for proto in protos.values():
        shared = graph.shared_tensors(proto)
        tensors |= {name: value for name, value in shared.items() if name not in tensors}
    tensors |= {
        FILE_NAMES.get(name, name): value.detach().cpu().numpy()
        for name, value in model.state_dict().items()
        if not name.startswith("network.")
    }
    if model.set_encoder is None:
        tensors[STRANGERS] = _strangers(network, config)
    metadata = {MODEL_KEY: json.dumps(config.to_dict(), sort_keys=True)}
    weights = storage.tensor_bytes(tensors, metadata)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / WEIGHTS_FILE).write_bytes(weights)
        contents = {folder / WEIGHTS_FILE: weights}
        for file, proto in protos.items():
            contents[folder / file] = graph.point_into(proto, scratch / WEIGHTS_FILE)
            (scratch / file).write_bytes(contents[folder / file])
        check_graph(network, scratch, image_size)
        if model.set_encoder is not None:
            check_graph(model.set_encoder, scratch, image_size, TASK_GRAPH)
            check_graph(network, scratch, image_size, film=_other_norms(network))
    contents |= {folder / name: text.encode() for name, text in texts.items()}
    storage.write_together(contents, what=f"model {config.name}")


def check_graph(
    network: nn.Module,
    folder: Path,
    image_size: int,
    file: str = ENCODER_GRAPH,
    film: Mapping[str, Tensor] | None = None,
) -> float:
    """Compare a graph with its torch network on noise; return the relative difference.

    `film` replaces norm parameters of the network in both. Raises LiteError (MACHINE) when they
    differ.
    """
    film = dict(film or {})
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 3, image_size, image_size)).astype(np.float32)
    with torch.no_grad():
        expected = functional_call(network.eval(), film, (torch.from_numpy(images),)).numpy()
    values = {graph.PREFIX + name: value.numpy() for name, value in film.items()}
    found = Encoder(folder, values, graph=file).encode(images)
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not difference < AGREEMENT:
        raise LiteError(
            f"The exported network differs from the trained one by {difference:.1e}.",
            "Its photos would be named differently than in training; nothing was written.",
            "another --backbone, or report this network",
            code=ExitCode.MACHINE,
        )
    return difference


def _strangers(network: nn.Module, config: ModelConfig) -> np.ndarray:
    """The tensor of strangers.py for this network, one drawing at a time."""
    inputs = torch.from_numpy(stranger_inputs(config.preprocess))
    with torch.no_grad():
        features = torch.stack([network.eval()(looks).mean(dim=0) for looks in inputs])
    return stranger_tensor(features.numpy())


def _other_norms(network: nn.Module) -> dict[str, Tensor]:
    """Norm parameters unlike the network's own: does the graph read them where torch does?"""
    rng = torch.Generator().manual_seed(0)
    parameters = dict(network.named_parameters())
    names = [name for layer in film_layers(network) for name in layer.parameter_names]
    norms = {name: parameters[name].detach() for name in names}
    sizes = {name: norm.abs().mean().clamp(min=1e-3) for name, norm in norms.items()}
    return {
        name: norm + 0.1 * sizes[name] * torch.randn(norm.shape, generator=rng)
        for name, norm in norms.items()
    }


def load_model(folder: Path, config: ModelConfig) -> FewShotModel:
    """The torch model of a model folder; LiteError (MISSING) when its weights do not fit."""
    described = backbones.from_model(folder, config)
    model = FewShotModel(described, described_head(config), bool(config.film))
    tensors, _ = storage.read_tensors(folder / WEIGHTS_FILE)
    own = {n for n in model.state_dict() if not n.startswith("network.")}
    missing = sorted(name for name in own if FILE_NAMES.get(name, name) not in tensors)
    if missing:
        raise incomplete_model(folder, FILE_NAMES.get(missing[0], missing[0]))
    state = {name: torch.from_numpy(tensors[FILE_NAMES.get(name, name)]) for name in own}
    model.load_state_dict(state, strict=False)
    return model


def described_head(config: ModelConfig) -> str:
    """The head that a learner of a model folder was trained with; of older ones, the usual one."""
    usual = "cosine" if config.head == "auto" else config.head
    return config.trained_head or head_of_learner(config.learner, usual)


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
        pooled=described.pooled,
        projected=described.projected,
        feature_power=described.feature_power,
        film=tuple(layer.name for layer in model.generator.layers) if model.generator else (),
        licence=described.licence,
        origin=described.origin,
    )


def fetch(
    name: str,
    folder: Path,
    weights: str = "auto",
    *,
    head: str = "auto",
    image_size: int | None = None,
    closer_looks: tuple[float, ...] = (),
    support_looks: int = 0,
    pooled: bool = False,
    offline: bool = False,
    accept_licence: bool = False,
) -> ModelConfig:
    """Make a model folder of a timm pretrained network (`litecli models fetch`).

    `name` is a timm name or a key of `timm_networks.NAMED_NETWORKS`. `weights`, `image_size`,
    `pooled` and `offline` are those of `backbone.build`, the looks those of Preprocess.
    Raises LiteError as `backbone.build` does, and USAGE before any download when the weights'
    licence has to be accepted.
    """
    if name in timm_networks.NAMED_NETWORKS:
        name, own_size = timm_networks.NAMED_NETWORKS[name]
        image_size = image_size or own_size
    if weights == "auto":
        _check_licence(name, accept_licence)
    described = backbones.build(name, weights, image_size, offline=offline, pooled=pooled)
    seen = described.preprocess
    seen = replace(seen, closer_looks=closer_looks, support_looks=support_looks)
    described = replace(described, preprocess=seen)
    model = FewShotModel(described, "cosine" if head == "auto" else head)
    config = model_config(folder.name, model, "protonets", head)
    write_model(model, config, folder, {"README.md": _fetched_card(config)})
    return config


def _check_licence(name: str, accepted: bool) -> None:
    if not timm_networks.is_hubs(name):
        timm_networks.check_name(name)
    licence = timm_networks.licence_of(name)
    if licence in timm_networks.OPEN_LICENCES or accepted:
        return
    own = f"The weights of {name} have a licence of their own: {licence}."
    raise LiteError(
        own if licence != "unknown" else f"The licence of the weights of {name} is unknown.",
        f"Read it on their page: {timm_networks.page_of(name)}",
        "the same command with --accept-license",
        code=ExitCode.USAGE,
    )


def _fetched_card(config: ModelConfig) -> str:
    seen = config.preprocess
    shares = " and ".join(f"{share:g}" for share in seen.closer_looks)
    looks = f" and closer looks at {shares} of it" if shares else ""
    if seen.support_looks:
        looks += f", {seen.support_looks} more looks at photos to learn from"
    return (
        f"# {config.name}\n\n"
        f"{config.architecture} with weights as they come: {config.origin}.\n"
        f"Features {config.num_features}, image size {seen.image_size} px{looks}, "
        f"head {config.head}.\nLicence of the weights: {config.licence}.\n"
    )
