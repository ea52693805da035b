"""The hub that timm's pretrained weights come from: whether it answers, and what if it does not."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants as hub_settings
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError

from litecli import storage
from litecli.errors import ExitCode, LiteError

_MODULES = ("huggingface_hub", "httpx", "requests", "safetensors_rust")  # of the client's errors


@contextmanager
def downloading(offline: bool) -> Iterator[None]:
    """Inside, timm's downloads say nothing, and use the cache alone if the hub does not answer."""
    log = logging.getLogger("timm")
    level, before = log.level, hub_settings.HF_HUB_OFFLINE
    try:
        log.setLevel(logging.ERROR)
        # Without an answer the hub's client would try again for a minute; a cached file needs none.
        hub_settings.HF_HUB_OFFLINE = before or offline or not answers()
        yield
    finally:
        log.setLevel(level)
        hub_settings.HF_HUB_OFFLINE = before


def is_clients(error: Exception) -> bool:
    """Whether an exception is of the hub's client, whose classes share no base of their own."""
    return type(error).__module__.split(".")[0] in _MODULES


def unreachable(
    name: str, repository: str, megabytes: float, error: Exception, described: bool = False
) -> LiteError:
    """What could not be had, how large it is (0: not known), and the way without a network.

    `described`: only a config.json beside the weights says what network they are of.
    """
    about = f", about {megabytes:.0f} MB," if megabytes else ""
    lines = str(error).strip().splitlines()
    # Of a hub that was not asked, the client says no more than that the file is not in its cache.
    asked = lines and not isinstance(error, LocalEntryNotFoundError)
    reason = f" ({lines[0][:100].rstrip()})" if asked else ""
    what = "the config and weights" if described else "the weights"
    files = "config.json and model.safetensors" if described else f"model.safetensors{about}"
    folder = "--weights DIR with config.json and model.safetensors"
    return LiteError(
        f"Could not download {what} of {name}: no network, or it was refused{reason}.",
        f"On another machine, save its {files} from {page(repository)}.",
        f"{folder} for {name}" if described else f"--weights FILE (or {folder}) for {name}",
        code=ExitCode.NETWORK,
    )


def page(repository: str) -> str:
    """The address of a repository's own page."""
    return f"{hub_settings.ENDPOINT}/{repository}"


def answers(timeout: float = 3.0) -> bool:
    """Whether the hub of pretrained weights can be reached within `timeout` seconds."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True  # a proxy has its own way out, which a plain connection does not see
    address = urlsplit(hub_settings.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout).close()
    except OSError:
        return False
    return True


def check_cached(repository: str) -> None:
    """Raise LiteError (NETWORK) when the hub's cache holds damaged weights of a repository.

    The cache calls each file by its sha256, and nobody looks at that again: half a file, or another
    one, would be an error of the loader at best, and random weights at worst.
    """
    for file in ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(repository, file)
        blob = Path(found).resolve() if isinstance(found, str) else Path()
        if len(blob.name) == 64 and storage.files_sha256([blob]) != blob.name:
            raise LiteError(
                f"The downloaded weights of {repository} are damaged.",
                "The file is not the one that its sha256 promises.",
                f"delete {blob} and try again",
                code=ExitCode.NETWORK,
            )
