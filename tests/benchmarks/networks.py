"""Which network to train: each for the same number of images, then its accuracy, size and cost.

    python tests/benchmarks/networks.py RECIPE NETWORK ... [--images 25600] [--measure FOLDER ...]

RECIPE is a recipe.toml of `litecli meta-train` with a teacher or without; each NETWORK (a timm
name) is trained by it from random weights, supervised stage and one step of episodes, in a run
folder under --out. `--cache FOLDER` lends the decoded images of an earlier run of the recipe.
Prints the accuracy on the held-out classes and on each collection to measure (20-way 5-shot, ridge
head), megabytes of the weights, and milliseconds of one core a photo.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from litecli.library.model_files import open_model
from litecli.networks.encoder import Encoder

LITECLI = (sys.executable, "-m", "litecli")
PHOTOS_TIMED = 50


def litecli(*arguments: str) -> dict[str, Any]:
    """Run a command with --json; returns its last object."""
    done = subprocess.run([*LITECLI, *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def train(recipe: str, network: str, out: Path, images: int, cache: Path | None) -> Path:
    """Train one network by the recipe; returns its model folder."""
    if cache is not None and not (out / "cache").exists():
        shutil.copytree(cache, out / "cache", copy_function=os.link)
    start = ("--config", recipe, "--backbone", network, "--weights", "none", "--out", str(out))
    size = ("--pretrain-images", str(images), "--tasks", "1", "--tasks-per-step", "1")
    subprocess.run([*LITECLI, "meta-train", *start, *size], check=True, stdout=subprocess.DEVNULL)
    return out / "model"


def milliseconds(folder: Path) -> float:
    """Time of one photo's looks on one core, the median."""
    preprocess, encoder = open_model(folder).config.preprocess, Encoder(folder)
    side = preprocess.image_size
    blank = np.zeros((len(preprocess.look_shares), 3, side, side), np.float32)
    spent = []
    for _ in range(PHOTOS_TIMED):
        began = time.perf_counter()
        encoder.features(blank)
        spent.append(time.perf_counter() - began)
    return 1e3 * statistics.median(spent)


def validated(run: Path) -> float:
    """The best validation accuracy that a run folder's metrics.csv holds, in percent."""
    header, *rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    column = header.index("val_accuracy")
    return 100 * max(float(row[column]) for row in rows if row[column])


def measured(model: Path, folder: str, tasks: int) -> float:
    """Accuracy on a collection in percent."""
    way = ("--way", "20", "--shots", "5", "--query", "5", "--tasks", str(tasks))
    head = ("--head", "ridge", "--ridge-lambda", "0.1")
    told = litecli("evaluate", folder, "--model", str(model), *way, *head)
    return 100 * told["accuracy"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Networks trained alike, side by side.")
    parser.add_argument("recipe")
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--images", type=int, default=25600)
    parser.add_argument("--measure", nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir(), "networks"))
    arguments = parser.parse_args(argv)
    names = [Path(folder).name for folder in arguments.measure]
    print("  ".join(f"{title:>10}" for title in ("held out", *names, "MB", "ms")), " network")
    for network in arguments.networks:
        run = arguments.out / network
        model = train(arguments.recipe, network, run, arguments.images, arguments.cache)
        values = [validated(run)]
        values += [measured(model, folder, arguments.tasks) for folder in arguments.measure]
        values += [(model / "model.safetensors").stat().st_size / 1e6, milliseconds(model)]
        print("  ".join(f"{value:>10.1f}" for value in values), f" {network}", flush=True)


if __name__ == "__main__":
    main()
