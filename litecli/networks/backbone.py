"""Networks from timm, and the only file that knows timm.

A backbone is any timm network called without its classifier: images [B, 3, S, S] -> features
[B, D]. Weights come from timm's own cache or download (`auto`), a file, a timm local-directory
folder, or nowhere (`none`).
"""

import difflib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
    from timm.models import load_model_config_from_hf
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
    name = known_name(name)
    architecture, cfg, arguments = _of_hub(name, offline) if is_hubs(name) else _of_timm(name)
    arguments = _with_size(architecture, cfg, arguments, image_size)
    if weights == "auto":
        network = _download(name, arguments, offline)
        if pooled:
            leave_out_head(network)
        origin = f"timm pretrained {name}"
        cfg = dict(getattr(network, "pretrained_cfg", None) or cfg)
    else:
        network = _created(architecture, arguments, pooled)
        origin = "random initialisation"
        if weights != "none":
            load_into(network, path, _as_timm_loads)
            origin = f"file {path.name}"
        cfg["license"] = "unknown"  # the one stated is of weights that these are not
    return _describe(network, architecture, arguments, image_size, origin, cfg, pooled)


def licence_of(name: str) -> str:
    """The licence of a network's pretrained weights as timm states it, or "unknown".

    Nothing is asked of the hub: the licence of an hf-hub: network is known where timm knows it by
    name.
    """
    name = known_name(name)
    cfg = None if is_hubs(name) else timm.get_pretrained_cfg(name)
    return (cfg.license if cfg is not None else None) or "unknown"


def is_hubs(name: str) -> bool:
    """Whether only the hub can say what this network is."""
    return name.startswith("hf-hub:")


def known_name(name: str) -> str:
    """timm's own name of an hf-hub: network where it has one: the hub need not be asked then."""
    repository = name.removeprefix("hf-hub:")
    own = repository.rpartition("/")[2]
    known = is_hubs(name) and "." in own and timm.is_model_pretrained(own)
    return own if known and _repository(own) == repository else name


def page_of(name: str) -> str:
    """Where the hub tells of a network's pretrained weights."""
    return hub.page(_repository(known_name(name)))


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


def _of_timm(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What timm calls a network's architecture, what it says of its weights, and no arguments."""
    check_name(name)
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return name, cfg.to_dict() if cfg is not None else {}, {}


def _of_hub(name: str, offline: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The same of a network that the hub's config.json describes, and timm's arguments for it."""
    try:
        with hub.downloading(offline):
            cfg, architecture, arguments = load_model_config_from_hf(_repository(name))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise LiteError(
            f"{name} is not a network of timm.",
            "Its config.json names no architecture.",
            code=ExitCode.USAGE,
        ) from error
    except Exception as error:
        if isinstance(error, OSError | ValueError) or hub.is_clients(error):
            raise _network_error(name, error) from error
        raise
    check_name(architecture)
    usual = timm.get_pretrained_cfg(architecture)
    return architecture, (usual.to_dict() if usual else {}) | dict(cfg), dict(arguments or {})


def _with_size(
    architecture: str,
    cfg: Mapping[str, Any],
    arguments: Mapping[str, Any],
    image_size: int | None,
) -> dict[str, Any]:
    """`arguments` and what timm needs to be told of the image size: of a fixed size alone."""
    if not cfg.get("fixed_input_size"):
        return dict(arguments)
    usual = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    made_for = arguments.get("img_size") or (usual.input_size if usual is not None else 0)
    wanted = image_size or _side(arguments.get("img_size") or cfg["input_size"])
    return dict(arguments) if wanted == _side(made_for) else {**arguments, "img_size": wanted}


def _side(size: Any) -> int:
    """Pixels of a square's side, of timm's ways to say it: a number, (height, width), (3, H, W)."""
    return int(size if isinstance(size, int | float) else size[-1])


def _as_timm_loads(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights as timm itself fits them to a network: positions at its size, old names renamed."""
    module = sys.modules[type(network).__module__]
    fit = getattr(module, "checkpoint_filter_fn", None)
    try:
        return dict(fit(dict(state), network)) if fit is not None else state
    except Exception:  # made for weights of this network; with others it fails in many ways
        return state


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
    if not is_hubs(name):
        network = timm.create_model(name, pretrained=False)  # the file has the classifier too
        megabytes = sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6
    return hub.unreachable(name, _repository(name), megabytes, error, is_hubs(name))


def _repository(name: str) -> str:
    """The hub's repository of a network's pretrained weights."""
    cfg = None if is_hubs(name) else timm.get_pretrained_cfg(name)
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
    cfg = _of_timm(architecture)[1] | stated
    arguments = _with_size(architecture, cfg, arguments, image_size)
    network = _created(architecture, arguments, pooled)
    load_into(network, folder / WEIGHTS_FILE, _as_timm_loads)
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
    usual_size = _side(arguments.get("img_size", data["input_size"]))
    preprocess = Preprocess(
        image_size=image_size or usual_size,
        crop_pct=float(data["crop_pct"]),
        interpolation=data["interpolation"] if data["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )
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
