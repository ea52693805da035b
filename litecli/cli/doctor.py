"""`litecli doctor`: what this machine offers, and what stands in litecli's way."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import typer

from litecli import __version__
from litecli.cli.options import Common, command
from litecli.cli.texts import size
from litecli.errors import ExitCode, LiteError

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "onnxruntime",
    "pillow",
    "pillow-heif",
    "numpy",
    "safetensors",
    "typer",
)
WRITTEN_TO = ("locks", "profiles", "profiles/previous", "models")  # within the data folder
LOW_SPACE = 200_000_000  # bytes

EXAMPLES = ("litecli doctor", "litecli doctor --json")


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "doctor", panel=panel, examples=EXAMPLES)(doctor)


def doctor(common: Common) -> int | None:
    """Show versions, devices and folders, and what is wrong."""
    report, problems = examine()
    if common.out.json:
        common.out.record({"schema": "litecli.doctor/1", **report, "problems": problems})
    else:
        for topic, value in report.items():
            text = (
                ", ".join(f"{k} {v}" for k, v in value.items())
                if isinstance(value, dict)
                else value
            )
            common.out.result(f"{topic.replace('_', ' '):<12}  {text}")
        for problem in problems:
            common.out.result(common.out.styled(f"Problem: {problem}", "red"))
        if not problems:
            common.out.result("All is well.")
    return ExitCode.MACHINE if problems else None


def examine() -> tuple[dict[str, Any], list[str]]:
    """The machine's report, topic by topic, and the problems found, one sentence each."""
    import platform

    from litecli.threads import workers

    problems: list[str] = []
    report: dict[str, Any] = {
        "litecli": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cores": str(workers()),
        "packages": _versions(problems),
        "devices": _devices(problems),
        "heic": _heic(problems),
    }
    report |= _data_folder(problems)
    report |= _models(problems)
    return report, problems


def _versions(problems: list[str]) -> dict[str, str]:
    import importlib.metadata

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
            problems.append(f"{package} is missing: pip install --force-reinstall litecli")
    return versions


def _devices(problems: list[str]) -> str:
    try:
        import torch
    except Exception as error:  # a broken install fails in many ways; the doctor reports it
        problems.append(f"torch cannot be loaded: {error}")
        return "cpu"
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [
            f"cuda ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return ", ".join(devices)


def _heic(problems: list[str]) -> str:
    import importlib

    try:
        importlib.import_module("pillow_heif")
    except Exception as error:  # a broken binary wheel raises ImportError, OSError and others
        problems.append(f"cannot read HEIC ({error}): pip install --force-reinstall pillow-heif")
        return "cannot be read"
    return "can be read"


def _data_folder(problems: list[str]) -> dict[str, str]:
    import shutil
    import tempfile

    from litecli import library, storage

    try:
        home = storage.home()
    except LiteError as error:
        problems.append(f"{error.what} {error.fix}")
        return {"data_folder": "none"}
    existing = _nearest_existing(home)
    free = shutil.disk_usage(existing).free
    if free < LOW_SPACE:
        problems.append(f"only {size(free)} are free in {existing}")
    within = [home / name for name in WRITTEN_TO]
    # What is not there yet is made in the nearest folder that is.
    places = {home: existing} | {place: place for place in within if os.path.lexists(place)}
    for place, tried in places.items():
        try:
            with tempfile.TemporaryFile(dir=tried):
                pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            problems.append(
                f"cannot write to {place} ({reason}): set LITECLI_HOME to a folder you can write to"
            )
    report = {"data_folder": str(home), "free_space": size(free)}
    try:
        listed = library.list_profiles()
    except LiteError as error:
        problems.append(f"{error.what} {error.fix}")
        return report
    problems += [
        f"{one.problem} See: litecli profiles show {shlex.quote(one.name)}"
        for one in listed
        if one.problem
    ]
    return report | {"profiles": str(len(listed))}


def _nearest_existing(path: Path) -> Path:
    """The folder itself, or what exists nearest above it; a file in its place is no folder."""
    path = path.absolute()
    # Not Path.exists: until Python 3.14 it raises where permission is missing.
    return next(p for p in (path, *path.parents) if os.path.exists(p))  # noqa: PTH110


def _models(problems: list[str]) -> dict[str, str]:
    from litecli import library

    try:
        names = [
            f"{m.name}{' (current)' if current else ''}" for m, _, current in library.list_models()
        ]
    except LiteError as error:
        problems.append(f"{error.what} {error.fix}")
        return {"models": "none"}
    if not names:
        problems.append("no model is installed: litecli models fetch NAME")
    return {"models": ", ".join(names) or "none"}
