"""Whether `litecli meta-train --memory` keeps its limit: predicted and measured peaks of runs.

    python tests/benchmarks/memory_limit.py NETWORK[:LEARNER[:film]] ... --data FOLDER
        [--limit 1.5GB ...] [--size 224] [--tasks 4]

Each row is a run of its own from random weights, a whole process: a short supervised stage (which
batch norm needs), tasks, validations, models written. The learner is protonets unless it is named;
a limit bites where the chunk is below 40. Measured is the largest resident size of that process,
libraries and mapped photos too. A run that cannot fit is tried again with the limit that its error
names. The photos are decoded once for all rows.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.memory import read_size
from litecli.training.run_folder import to_toml

TASK = EpisodeConfig(way_min=5, way_max=10, support_min=40, support_max=60, query=5)
PROGRAM = "import sys; from litecli.cli import main; sys.exit(main())"


def settings(row: str, limit: str, arguments: argparse.Namespace) -> TrainConfig:
    """The run of a row of the table."""
    network, learner, film = (*row.split(":"), "", "")[:3]
    return TrainConfig(
        data=(arguments.data,),
        backbone=network,
        weights="none",
        learner=learner or "protonets",
        film="on" if film else "auto",
        image_size=arguments.size,
        episodes=TASK,
        tasks=arguments.tasks,
        tasks_per_step=1,
        val_every=arguments.tasks,  # at the end of a stage
        val_tasks=2,
        pretrain=PretrainConfig(images=8, batch=4, image_size=arguments.size),
        precision=arguments.precision,
        device="cpu",
        memory=limit,
    )


def run(config: TrainConfig, scratch: Path) -> list[dict[str, Any]] | str:
    """The events of the whole run, or the error that it ends with."""
    out = scratch / "run"
    for left in out.glob("*"):
        if left.is_dir() and left.name != "cache":
            shutil.rmtree(left)
        elif left.is_file():
            left.unlink()
    recipe = scratch / "recipe.toml"
    recipe.write_text(to_toml(config))
    command = [sys.executable, "-c", PROGRAM, "meta-train", "--config", str(recipe)]
    command += ["--out", str(out), "--json", "--offline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return " ".join(done.stderr.split())
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Predicted and measured memory of runs.")
    parser.add_argument("rows", nargs="+", metavar="NETWORK[:LEARNER[:film]]")
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", nargs="+", default=["1.5GB"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    print("| network | learner | limit | chunk | predicted, MB | measured, MB | measured / limit |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for row in arguments.rows:
            for limit in arguments.limit:
                config = settings(row, limit, arguments)
                events = run(config, Path(name))
                named = re.search(r"--memory (\S+),", events) if isinstance(events, str) else None
                if named:
                    print(f"{row}: {events}", file=sys.stderr, flush=True)
                    limit = named[1]
                    config = replace(config, memory=limit)
                    events = run(config, Path(name))
                learner = config.learner + ", FiLM" * config.uses_film
                start = f"| {config.backbone} | {learner} | {limit} |"
                if isinstance(events, str):
                    print(f"{start} {events} |", flush=True)
                    continue
                started = next(event for event in events if event["event"] == "started")
                foreseen, peak = (events[-1][k] for k in ("expected_memory", "peak_memory"))
                print(
                    f"{start} {started['chunk']} | {foreseen / 1e6:,.0f} | {peak / 1e6:,.0f} | "
                    f"{peak / read_size(limit):.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
