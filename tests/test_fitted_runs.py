"""Runs within a memory: they take what was foreseen, and keep what was fitted when resumed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litecli import memory
from litecli.config import TrainConfig
from litecli.errors import LiteError
from litecli.pictures import pixels
from litecli.training import memory_fit, training
from litecli.training.events import Finished, Started

from .small_runs import assert_same_outcome, events_of, outcome, stop_after

FITTED_RUN = """
import json, sys
import torch
from litecli import memory
from litecli.config import EpisodeConfig, TrainConfig
from litecli.training import best_model, training
from litecli.training.events import Finished, Started

best_model.write_model = lambda *_: None  # exporting a graph takes seconds
data, out, more, photo = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

class Heavy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features):
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.ones(len(features), photo // 4))
        return features.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient

real = training.initial_model

def initial_model(*arguments):
    model = real(*arguments)
    model.network.register_forward_hook(lambda network, inputs, features: Heavy.apply(features))
    return model

training.initial_model = initial_model
task = EpisodeConfig(way_min=2, way_max=6, support_min=12, support_max=16, query=3)
limit = memory.resident() + more
config = TrainConfig(
    data=(data,), out=out, backbone="test_convnext", weights="none", image_size=128,
    episodes=task, tasks=6, tasks_per_step=1, val_every=6, val_tasks=2, device="cpu",
    precision="fp32", memory=f"{limit // 1_000_000}MB",
)
for event in training.meta_train(config):
    if isinstance(event, Started):
        chunk = event.chunk
    if isinstance(event, Finished):
        print(json.dumps([chunk, limit, event.expected_memory, event.peak_memory]))
"""
A_PHOTO = 60_000_000  # bytes of a graph, made up: many times what a run varies by


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_run_takes_what_was_foreseen(tmp_path: Path) -> None:
    """From photos to a model, in a process of its own: what other tests had would hide it.

    What must not be there is large: the graphs of one photo too many are 60 MB, of all 1 GB.
    """
    rng = np.random.default_rng(0)
    for number in range(16):
        folder = tmp_path / "photos" / f"class{number}"
        folder.mkdir(parents=True)
        for photo in range(12):
            colours = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(colours).resize((146, 146)).save(folder / f"{photo}.jpg")
    command = [sys.executable, "-c", FITTED_RUN, str(tmp_path / "photos"), str(tmp_path / "run")]
    command += ["500000000", str(A_PHOTO)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    chunk, limit, expected, peak = json.loads(done.stdout)
    assert 1 < chunk < 16  # of 16 support and 18 query photos
    assert peak <= limit and expected <= limit
    assert abs(expected / peak - 1) < 0.1


def test_few_photos_are_mapped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    for _ in pixels.cache(lambda number: squares[number], 9, "key", tmp_path, 1):
        pass
    let_go: list[int] = []
    real = memory.let_go
    monkeypatch.setattr(pixels, "MAPPED", 3 * (pixels.AROUND + squares[0].nbytes))
    monkeypatch.setattr(memory, "let_go", lambda mapped: (let_go.append(1), real(mapped)))
    store = pixels.FewMapped(tmp_path)
    held = [store[number] for number in range(9)]
    assert np.array_equal(held, squares)  # also those whose pages were let go
    assert len(let_go) == 2


def lower_each_time(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rehearsals that find room for 3 photos, then for 2, then for 1; the list is their answers."""
    answers: list[int] = []

    def fewer(config: TrainConfig, *_: object) -> tuple[TrainConfig, int]:
        answers.append(3 - len(answers))
        return replace(config, chunk=answers[-1], query_batch=answers[-1]), 10**9

    monkeypatch.setattr(memory_fit, "fit", fewer)
    return answers


def test_a_resumed_run_keeps_the_chunk_and_ends_with_the_same_bits(
    config: TrainConfig, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, memory="2GB")
    whole = replace(config, chunk=3, query_batch=3, memory="", out=str(tmp_path / "whole"))
    events_of(whole)
    expected = outcome(whole)
    answers = lower_each_time(monkeypatch)
    stop_after(config, 12)
    seen = stop_after(config, 2, resume=True)
    assert isinstance(seen[0], Started)
    assert (seen[0].chunk, seen[0].query_batch, seen[0].expected_memory) == (3, 3, 10**9)
    last = events_of(config, resume=True)[-1]
    assert isinstance(last, Finished) and last.expected_memory == 10**9
    assert "(1.0 GB foreseen)" in (Path(config.out) / "log.txt").read_text()
    assert answers == [3]
    assert_same_outcome(config, expected)


def test_a_resumed_run_obeys_smaller_settings_and_another_memory(
    config: TrainConfig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, memory="2GB")
    answers = lower_each_time(monkeypatch)
    stop_after(config, 12)
    lower = stop_after(replace(config, query_batch=1), 1, resume=True)[0]
    assert isinstance(lower, Started) and (lower.chunk, lower.query_batch) == (3, 1)
    with pytest.raises(LiteError, match="other settings"):  # and before anything is measured
        events_of(replace(config, memory="1GB", seed=7), resume=True)
    assert answers == [3]
    other = stop_after(replace(config, memory="1GB"), 1, resume=True)[0]
    assert isinstance(other, Started) and other.chunk == 2
    free = stop_after(replace(config, memory=""), 1, resume=True)[0]
    assert isinstance(free, Started) and free.expected_memory == 0


def test_memory_is_kept_and_photos_are_mapped_only_without_a_limit(
    config: TrainConfig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[str] = []

    @contextmanager
    def kept() -> Iterator[None]:
        entered.append("kept")
        yield

    class Few(pixels.FewMapped):
        def __init__(self, folder: Path) -> None:
            entered.append("few mapped")
            super().__init__(folder)

    given: list[int] = []
    monkeypatch.setattr(training, "FewMapped", Few)
    monkeypatch.setattr(training, "kept", kept)
    monkeypatch.setattr(memory, "give_back", lambda: given.append(1))
    lower_each_time(monkeypatch)
    steps = 7
    stop_after(replace(config, memory="2GB"), steps)
    assert entered == ["few mapped"]
    limited = len(given)
    stop_after(replace(config, out=f"{config.out}-free"), steps)
    assert entered == ["few mapped", "kept"] and limited > len(given) - limited == 0
