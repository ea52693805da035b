"""meta-train's settings: defaults < --config FILE.toml < flags (checked by train_ranges.py).

The keys of the file are the fields of `config.TrainConfig`, its inner configs as tables:

    data = ["photos"]
    lite_h = 16
    [episodes]
    way_max = 20
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from litecli.config import PretrainConfig, TrainConfig
from litecli.errors import ExitCode, LiteError

# Bare `litecli meta-train`: about ten minutes on two cores, no data and no network needed.
EXAMPLE = TrainConfig(
    weights="none",
    backbone="resnet10t",
    image_size=64,
    lite_h=20,
    tasks=160,
    val_tasks=50,
    pretrain=PretrainConfig(images=60_000, image_size=64),
)

_BEYOND = 10**18  # beyond what any setting may be


def read_toml(path: Path, base: TrainConfig) -> TrainConfig:
    """`base` with the settings of a TOML file.

    Raises LiteError (USAGE): no such file, a syntax error (with line and column), an unknown key
    (with the nearest known one), a value of the wrong type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        what = f"Cannot read --config {path}: {reason.lower()}."
        raise LiteError(what, code=ExitCode.USAGE) from error
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: of TOML, or a number too long
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = place.groups() if place else (str(text.count("\n") + 1), "1")
        reason = str(error).partition(" (at ")[0]
        raise LiteError(
            f"{path}:{line}:{column}: {reason}.",
            "The file is TOML: KEY = VALUE, with texts in quotes.",
            code=ExitCode.USAGE,
        ) from error
    return _with_table(base, values, f"{path}", text, "")


def _with_table(base: Any, values: Mapping[str, Any], source: str, text: str, prefix: str) -> Any:
    known = {field.name: getattr(base, field.name) for field in fields(base)}
    changed = {}
    for key, value in values.items():
        place = f"{source}:{_line_of(key, text)}"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise LiteError(
                f"{place}: there is no setting {prefix}{key}.",
                f"Did you mean {prefix}{near[0]}?" if near else f"Settings: {', '.join(known)}.",
                code=ExitCode.USAGE,
            )
        if is_dataclass(known[key]) and isinstance(value, dict):
            changed[key] = _with_table(known[key], value, source, text, f"{key}.")
        else:
            changed[key] = _typed(value, known[key], f"{place}: {prefix}{key}")
    return replace(base, **changed)


def _typed(value: Any, default: Any, place: str) -> Any:
    """The value as the type of the default; LiteError (USAGE) otherwise."""
    if isinstance(default, tuple):
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        wanted = "a list of texts"
    elif isinstance(default, bool):
        if isinstance(value, bool):
            return value
        wanted = "true or false"
    elif isinstance(default, int | float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (isinstance(default, float) or isinstance(value, int)):
            if isinstance(value, int):  # not all of them are a float
                value = min(max(value, -_BEYOND), _BEYOND)
            return type(default)(value)
        wanted = "a whole number" if isinstance(default, int) else "a number"
    elif isinstance(default, str):
        if isinstance(value, str):
            return value
        wanted = "a text in quotes"
    else:
        wanted = "a table"
    raise LiteError(f"{place} must be {wanted}, not {value!r}.", code=ExitCode.USAGE)


def _line_of(key: str, text: str) -> int:
    """The line that sets the key, counted from 1."""
    pattern = re.compile(rf"""^\s*\[?["']?{re.escape(key)}["']?\s*[=\].]""")
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if pattern.match(line)), 1)


def with_values(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The config with some settings changed; "episodes.query" is a setting of an inner config."""
    for key, value in values.items():
        outer, _, inner = key.partition(".")
        value = replace(getattr(config, outer), **{inner: value}) if inner else value
        config = replace(config, **{outer: value})
    return config


def parse_span(text: str, flag: str, single_is_most: bool = False) -> tuple[int | None, int]:
    """ "5-50" as (5, 50); "20" as (20, 20), or as (None, 20) where one number is the most."""
    match = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", text)
    if match is None:
        raise LiteError(
            f"{flag} {text} is not a number or a range.", fix=f"{flag} 5-50", code=ExitCode.USAGE
        )
    first, second = match.groups()
    if second is None:
        return (None if single_is_most else int(first)), int(first)
    return int(first), int(second)


def parse_workers(text: str) -> int:
    """ "auto" as 0, else the number of decoding threads."""
    if text == "auto":
        return 0
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise LiteError(
            f"--workers {text} is neither auto nor 1 or more.",
            fix="--workers auto",
            code=ExitCode.USAGE,
        )
    return int(text)
