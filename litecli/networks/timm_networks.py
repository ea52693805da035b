"""timm's networks by name: what they are, their licences, their sizes.

The only file that knows timm.
"""

import difflib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from litecli.config import Preprocess
from litecli.errors import ExitCode, LiteError
from litecli.networks import hub

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

# `models fetch NAME`: timm's name of the weights, and the image size where it is not their own.
NAMED_NETWORKS: dict[str, tuple[str, int | None]] = {
    "small": ("mobilenetv4_conv_small.e2400_r224_in1k", None),
    "balanced": ("efficientnet_b0.ra4_e3600_r224_in1k", None),
    "strong": ("vit_small_patch14_reg4_dinov2.lvd142m", 224),
    "dinov3": ("vit_small_patch16_dinov3.lvd1689m", None),
}
# Licences that ask nothing of a user but to be named; others are shown and must be accepted, and so
# must one that nobody states.
OPEN_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0")


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


def described(name: str, offline: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A network's architecture, what is said of its weights, and timm's arguments for it.

    Of an hf-hub: network the hub says it; raises LiteError (USAGE, NETWORK).
    """
    return _of_hub(name, offline) if is_hubs(name) else of_timm(name)


def of_timm(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What timm calls a network's architecture, what it says of its weights, and no arguments."""
    check_name(name)
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return name, cfg.to_dict() if cfg is not None else {}, {}


def _of_hub(name: str, offline: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The same of a network that the hub's config.json describes, and timm's arguments for it."""
    with _asking_the_hub(name, offline):
        try:
            cfg, architecture, arguments = load_model_config_from_hf(_repository(name))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise LiteError(
                f"{name} is not a network of timm.",
                "Its config.json names no architecture.",
                code=ExitCode.USAGE,
            ) from error
    check_name(architecture)
    usual = timm.get_pretrained_cfg(architecture)
    return architecture, (usual.to_dict() if usual else {}) | dict(cfg), dict(arguments or {})


def with_size(
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


def check_known(architecture: str) -> None:
    """Raise LiteError (MISSING) when this timm does not know a model's architecture."""
    if not timm.is_model(architecture):
        raise LiteError(
            f"timm {timm.__version__} has no network {architecture}.",
            "The model was made with another timm.",
            "pip install --upgrade timm",
            code=ExitCode.MISSING,
        )


def created(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network without its classifier, with random weights."""
    return timm.create_model(architecture, pretrained=False, num_classes=0, **dict(arguments))


def download(name: str, arguments: Mapping[str, Any], offline: bool) -> nn.Module:
    """The network with its pretrained weights, from the cache of the hub's client or the hub.

    Raises LiteError: there are none (USAGE), they cannot be had, or not with `offline` (NETWORK).
    """
    cfg = None if is_hubs(name) else timm.get_pretrained_cfg(name)
    if offline and cfg is not None and cfg.url and not cfg.hf_hub_id:
        raise LiteError(  # timm has a cache for these too, but asks nobody whether it may download
            f"The weights of {name} would be downloaded from {cfg.url}.",
            "That is not the hub, whose files alone are kept for --offline.",
            "leave --offline out, or --weights FILE",
            code=ExitCode.NETWORK,
        )
    with _asking_the_hub(name, offline):
        hub.check_cached(_repository(name))
        try:
            return timm.create_model(name, pretrained=True, num_classes=0, **arguments)
        except RuntimeError as error:  # timm: no pretrained weights exist for this network
            if "pretrained" not in str(error).lower():
                raise _network_error(name, error) from error
            raise LiteError(
                f"timm has no pretrained weights for {name}.",
                fix="--weights none, or --weights FILE",
                code=ExitCode.USAGE,
            ) from error


@contextmanager
def _asking_the_hub(name: str, offline: bool) -> Iterator[None]:
    """Inside, what the hub and its client refuse is LiteError (NETWORK)."""
    try:
        with hub.downloading(offline):
            yield
    except Exception as error:
        if isinstance(error, OSError | ValueError) or hub.is_clients(error):
            raise _network_error(name, error) from error
        raise


def as_timm_loads(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights as timm itself fits them to a network: positions at its size, old names renamed."""
    module = sys.modules[type(network).__module__]
    fit = getattr(module, "checkpoint_filter_fn", None)
    try:
        return dict(fit(dict(state), network)) if fit is not None else state
    except Exception:  # made for weights of this network; with others it fails in many ways
        return state


def usual_size(cfg: Mapping[str, Any], arguments: Mapping[str, Any]) -> int:
    """Pixels of the side of the images that a network was made for."""
    data = resolve_data_config({}, pretrained_cfg=dict(cfg))
    return _side(arguments.get("img_size", data["input_size"]))


def preprocess_of(cfg: Mapping[str, Any], image_size: int) -> Preprocess:
    """How photos become inputs [3, image_size, image_size], as timm says it of the weights."""
    data = resolve_data_config({}, pretrained_cfg=dict(cfg))
    return Preprocess(
        image_size=image_size,
        crop_pct=float(data["crop_pct"]),
        interpolation=data["interpolation"] if data["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )


def _side(size: Any) -> int:
    """Pixels of a square's side, of timm's ways to say it: a number, (height, width), (3, H, W)."""
    return int(size if isinstance(size, int | float) else size[-1])


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
