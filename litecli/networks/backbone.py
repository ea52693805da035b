"""Networks from timm with their weights, as features.

A backbone is any timm network called without its classifier: images [B, 3, S, S] -> features
[B, D]. Weights come from timm's own cache or download (`auto`), a file, a timm local-directory
folder, or nowhere (`none`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from litecli import storage
from litecli.config import MODEL_KEY, WEIGHTS_FILE, ModelConfig, Preprocess
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import read_config
from litecli.networks import timm_networks
from litecli.networks.parts import leave_out_head, num_features, project
from litecli.networks.weights import load_into


@dataclass(frozen=True)
class Backbone:
    """A network without classifier, and what is needed to build it again."""

    network: nn.Module
    architecture: str
    architecture_args: dict[str, Any]
    num_features: int  # D
    preprocess: Preprocess
    licence: str
    origin: str  # where its weights come from, one line
    pooled: bool = False  # without the layers that timm puts after the pooling
    projected: bool = False  # with a linear map of the features behind them
    feature_power: float = 1.0  # to which it takes them first


def build(
    name: str,
    weights: str = "auto",
    image_size: int | None = None,
    *,
    offline: bool = False,
    pooled: bool = False,
) -> Backbone:
    """Make the timm network `name` with `weights` (auto, none, a FILE or a timm local DIR).

    `image_size` overrides the size the weights were made for; `pooled`: see `leave_out_head`.
    With `offline` nothing is downloaded. What an hf-hub: network is, its config.json on the hub
    says, whatever its weights are, unless timm knows it by name.
    Raises LiteError: unknown name (USAGE), weights that do not fit or are unsafe (MISSING),
    download impossible (NETWORK).
    """
    path = Path(weights)
    if weights not in ("auto", "none") and not path.exists():
        raise LiteError(
            f"No weights at {weights}.",
            "--weights takes auto, none, a file or a timm local-directory folder.",
            code=ExitCode.USAGE,
        )
    if weights not in ("auto", "none") and path.is_dir():
        return _from_folder(path, image_size, pooled)
    name = timm_networks.known_name(name)
    architecture, cfg, arguments = timm_networks.described(name, offline)
    arguments = timm_networks.with_size(architecture, cfg, arguments, image_size)
    if weights == "auto":
        network = timm_networks.download(name, arguments, offline)
        if pooled:
            leave_out_head(network)
        origin = f"timm pretrained {name}"
        cfg = dict(getattr(network, "pretrained_cfg", None) or cfg)
    else:
        network = _created(architecture, arguments, pooled)
        origin = "random initialisation"
        if weights != "none":
            load_into(network, path, timm_networks.as_timm_loads)
            origin = f"file {path.name}"
        cfg["license"] = "unknown"  # the one stated is of weights that these are not
    return _describe(network, architecture, arguments, image_size, origin, cfg, pooled)


def from_model(folder: Path, config: ModelConfig) -> Backbone:
    """The network of a litecli model folder; LiteError (MISSING) when its weights do not fit."""
    network = rebuild(config).eval()
    load_into(network, folder / WEIGHTS_FILE)
    return Backbone(
        network=network,
        architecture=config.architecture,
        architecture_args=dict(config.architecture_args),
        num_features=config.num_features,
        preprocess=config.preprocess,
        licence=config.licence,
        origin=config.origin,
        pooled=config.pooled,
        projected=config.projected,
        feature_power=config.feature_power,
    )


def rebuild(described: ModelConfig | Backbone) -> nn.Module:
    """The network of a model folder's config, with weights still to be loaded.

    Raises LiteError (MISSING) when this timm does not know the architecture.
    """
    timm_networks.check_known(described.architecture)
    network = _created(described.architecture, described.architecture_args, described.pooled)
    if described.projected:
        project(network, described.num_features, described.feature_power)
    return network


def with_projection(built: Backbone, power: float = 1.0) -> Backbone:
    """The same with a projection behind it, if it has none (see `parts.Projection`).

    One that it has keeps its power. LiteError (USAGE) when another one than 1 is asked for.
    """
    if not built.projected:
        project(built.network, built.num_features, power)
        return replace(built, projected=True, feature_power=power)
    if power not in (1.0, built.feature_power):
        raise LiteError(
            f"The projection of these weights takes features to the power {built.feature_power:g}.",
            "It learned with that one.",
            f"--feature-power {built.feature_power:g}, or leave it out",
            code=ExitCode.USAGE,
        )
    return built


def _created(architecture: str, arguments: Mapping[str, Any], pooled: bool) -> nn.Module:
    network = timm_networks.created(architecture, arguments)
    return leave_out_head(network) if pooled else network


def _from_folder(folder: Path, image_size: int | None, pooled: bool) -> Backbone:
    """The network of a litecli model folder, or of timm's local directory."""
    own = folder / WEIGHTS_FILE
    is_timms = (folder / "config.json").exists() or not own.exists()
    if not is_timms and MODEL_KEY in storage.read_metadata(own):
        return _from_litecli_folder(folder, image_size, pooled)
    return _from_timm_folder(folder, image_size, pooled)


def _from_litecli_folder(folder: Path, image_size: int | None, pooled: bool) -> Backbone:
    """The network of a litecli model, to be trained on, perhaps at another size of its images."""
    config = read_config(folder)
    if config.projected and pooled and not config.pooled:
        raise LiteError(
            f"{folder} has a projection of the features that --pooled leaves out.",
            fix="the same without --pooled",
            code=ExitCode.USAGE,
        )
    usual_size = config.preprocess.image_size
    seen = replace(config.preprocess, image_size=image_size or usual_size)
    wanted = replace(config, preprocess=seen, pooled=config.pooled or pooled)
    built = from_model(folder, wanted)
    width = num_features(config.architecture, built.network, seen.image_size, usual_size)
    return replace(built, num_features=width)


def _from_timm_folder(folder: Path, image_size: int | None, pooled: bool) -> Backbone:
    """The network of timm's local directory: config.json (architecture) and weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = config["architecture"]
        if not isinstance(architecture, str):
            raise TypeError("architecture is no text")
        arguments = dict(config.get("model_args") or {})
        stated = {"license": "unknown"} | dict(config.get("pretrained_cfg") or {})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LiteError(
            f"{folder} is not a timm model folder.",
            "It needs config.json with an architecture, and model.safetensors.",
            code=ExitCode.MISSING,
        ) from error
    cfg = timm_networks.of_timm(architecture)[1] | stated
    arguments = timm_networks.with_size(architecture, cfg, arguments, image_size)
    network = _created(architecture, arguments, pooled)
    load_into(network, folder / WEIGHTS_FILE, timm_networks.as_timm_loads)
    origin = f"timm folder {folder.name}"
    return _describe(network, architecture, arguments, image_size, origin, cfg, pooled)


def _describe(
    network: nn.Module,
    name: str,
    arguments: dict[str, Any],
    image_size: int | None,
    origin: str,
    cfg: dict[str, Any],
    pooled: bool,
) -> Backbone:
    usual_size = timm_networks.usual_size(cfg, arguments)
    preprocess = timm_networks.preprocess_of(cfg, image_size or usual_size)
    network.eval()
    width = num_features(name, network, preprocess.image_size, usual_size)
    return Backbone(
        network=network,
        architecture=name.partition(".")[0],
        architecture_args=arguments,
        num_features=width,
        preprocess=preprocess,
        licence=cfg.get("license") or "unknown",
        origin=origin,
        pooled=pooled,
    )
