"""Networks from timm, and the only file that knows timm.

A backbone is any timm network called without its classifier: images [B, 3, S, S] -> features
[B, D]. Weights come from timm's own cache or download (`auto`), a file, a timm local-directory
folder, or nowhere (`none`).
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from litecli import storage
from litecli.config import MODEL_KEY, WEIGHTS_FILE, ModelConfig, Preprocess
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import read_config
from litecli.networks import hub
from litecli.networks.parts import leave_out_head, num_features
from litecli.networks.weights import load_into

try:
    import timm
    from timm.data.config import resolve_data_config
except (ImportError, OSError, RuntimeError) as error:  # torchvision of another torch: all three
    raise LiteError(
        "timm cannot be loaded: torchvision does not fit torch, or one of them is damaged.",
        f"torch is {torch.__version__}. {error}",
        "pip install --force-reinstall torch torchvision timm",
        code=ExitCode.MACHINE,
    ) from error


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


def build(
    name: str,
    weights: str = "auto",
    image_size: int | None = None,
    offline: bool = False,
    pooled: bool = False,
) -> Backbone:
    """Make the timm network `name` with `weights` (auto, none, a FILE or a timm local DIR).

    `image_size` overrides the size the weights were made for; `pooled`: see `leave_out_head`.
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
    if not name.startswith("hf-hub:"):
        check_name(name)
    arguments = _size_arguments(timm.get_pretrained_cfg(name, allow_unregistered=True), image_size)
    if weights == "auto":
        network = _download(name, arguments, offline)
        if pooled:
            leave_out_head(network)
        origin = f"timm pretrained {name}"
    else:
        network = _created(name, arguments, pooled)
        origin = "random initialisation"
        if weights != "none":
            load_into(network, path)
            origin = f"file {path.name}"
    cfg = dict(getattr(network, "pretrained_cfg", None) or {})
    if weights != "auto":  # timm states the licence of its own weights, which these are not
        cfg["license"] = "unknown"
    return _describe(network, name, arguments, image_size, origin, cfg, pooled)


def licence_of(name: str) -> str:
    """The licence of a timm network's pretrained weights as timm states it, or "unknown"."""
    cfg = None if name.startswith("hf-hub:") else timm.get_pretrained_cfg(name)
    return (cfg.license if cfg is not None else None) or "unknown"


def from_model(folder: Path, config: ModelConfig) -> Backbone:
    """The network of a litecli model folder; LiteError (MISSING) when its weights do not fit."""
    network = rebuild(config.architecture, config.architecture_args, config.pooled).eval()
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
    )


def rebuild(
    architecture: str, architecture_args: Mapping[str, Any], pooled: bool = False
) -> nn.Module:
    """The network of a model folder's config, with weights still to be loaded.

    Raises LiteError (MISSING) when this timm does not know the architecture.
    """
    if not timm.is_model(architecture):
        raise LiteError(
            f"timm {timm.__version__} has no network {architecture}.",
            "The model was made with another timm.",
            "pip install --upgrade timm",
            code=ExitCode.MISSING,
        )
    return _created(architecture, architecture_args, pooled)


def check_name(name: str) -> None:
    """Raise LiteError (USAGE) with the nearest timm names when timm does not know `name`."""
    architecture, _, tag = name.partition(".")
    if name.startswith("timm/"):
        raise LiteError(
            f"{name} is a hub name.", fix=f"hf-hub:{name} in its place", code=ExitCode.USAGE
        )
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"Did you mean {', '.join(near)}?" if near else "See timm.list_models()."
        raise LiteError(f"timm has no network {architecture}.", hint, code=ExitCode.USAGE)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        known = ", ".join(tags[:5]) or "none"
        raise LiteError(
            f"{architecture} has no weights {tag}.", f"Available: {known}.", code=ExitCode.USAGE
        )


def _created(name: str, arguments: Mapping[str, Any], pooled: bool) -> nn.Module:
    network = timm.create_model(name, pretrained=False, num_classes=0, **dict(arguments))
    return leave_out_head(network) if pooled else network


def _size_arguments(pretrained_cfg: Any, image_size: int | None) -> dict[str, Any]:
    """What timm needs to be told of the image size: only networks of a fixed size need it."""
    fixed = getattr(pretrained_cfg, "fixed_input_size", False)
    if not fixed or image_size in (None, pretrained_cfg.input_size[-1]):
        return {}
    return {"img_size": image_size}


def _download(name: str, arguments: Mapping[str, Any], offline: bool) -> nn.Module:
    try:
        with hub.downloading(offline):
            hub.check_cached(_repository(name))
            return timm.create_model(name, pretrained=True, num_classes=0, **arguments)
    except RuntimeError as error:  # timm: no pretrained weights exist for this network
        if "pretrained" not in str(error).lower():
            raise _network_error(name, error) from error
        raise LiteError(
            f"timm has no pretrained weights for {name}.",
            fix="--weights none, or --weights FILE",
            code=ExitCode.USAGE,
        ) from error
    except Exception as error:
        if isinstance(error, OSError | ValueError) or hub.is_clients(error):
            raise _network_error(name, error) from error
        raise


def _network_error(name: str, error: Exception) -> LiteError:
    megabytes = 0.0
    if not name.startswith("hf-hub:"):
        network = timm.create_model(name, pretrained=False)  # the file has the classifier too
        megabytes = sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6
    return hub.unreachable(name, _repository(name), megabytes, error)


def _repository(name: str) -> str:
    """The hub's repository of a network's pretrained weights."""
    cfg = None if name.startswith("hf-hub:") else timm.get_pretrained_cfg(name)
    return (cfg.hf_hub_id if cfg is not None else None) or name.removeprefix("hf-hub:")


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
    check_name(architecture)
    network = _created(architecture, arguments, pooled)
    load_into(network, folder / WEIGHTS_FILE)
    cfg = dict(getattr(network, "pretrained_cfg", None) or {}) | stated
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
    data = resolve_data_config({}, pretrained_cfg=cfg)
    preprocess = Preprocess(
        image_size=image_size or int(data["input_size"][-1]),
        crop_pct=float(data["crop_pct"]),
        interpolation=data["interpolation"] if data["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )
    network.eval()
    width = num_features(name, network, preprocess.image_size, data["input_size"][-1])
    architecture = (cfg.get("architecture") or name) if name.startswith("hf-hub:") else name
    return Backbone(
        network=network,
        architecture=architecture.partition(".")[0],
        architecture_args=arguments,
        num_features=width,
        preprocess=preprocess,
        licence=cfg.get("license") or "unknown",
        origin=origin,
        pooled=pooled,
    )
