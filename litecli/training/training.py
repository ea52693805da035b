"""Meta-training from data to model folder: a generator of events that the caller renders.

    for event in meta_train(config):
        ...

Stages run in order (those that are asked for, then LITE episodes); the weights that do best
on validation tasks are kept in OUT/model. The state is saved at step boundaries, and a step is a
pure function of its number, so a run that was stopped anywhere and resumed ends with the same bits.
"""

import json
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from litecli import storage
from litecli.config import TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.memory import kept
from litecli.networks.devices import resolve_device, use_bf16
from litecli.networks.film import coverage
from litecli.pictures.atlas import atlas_for
from litecli.pictures.pixels import FewMapped
from litecli.pictures.training_data import shared_data
from litecli.training import memory_fit
from litecli.training.episodic import EpisodicStage
from litecli.training.events import Event, Started
from litecli.training.loop import Run
from litecli.training.nuisance import NuisanceStage
from litecli.training.ranks import Ranks
from litecli.training.run_folder import STATE_FILE, RunFolder, RunProgress
from litecli.training.run_setup import (
    imitation_tasks,
    initial_model,
    prepared_data,
    prepared_teacher,
)
from litecli.training.stages import Stage, restore
from litecli.training.supervised import SupervisedStage
from litecli.training.task_size import all_backward
from litecli.training.torchrun import joined


def meta_train(
    config: TrainConfig, resume: bool = False, offline: bool = False
) -> Generator[Event]:
    """Train as `config` says into config.out, yielding events.

    Under torchrun the processes train together, and the events are rank 0's alone (ranks.py).
    Closing the generator (or Ctrl-C) saves the state first. Raises LiteError: unusable data or
    settings (USAGE, INPUT), no memory or a loss that is not a number (MACHINE).
    """
    # Memory that is kept falls into ever smaller pieces: faster, but no limit holds.
    with joined() as ranks, nullcontext() if config.memory else kept():
        if ranks.leads:
            folder = RunFolder(Path(config.out))
            if not resume:
                folder.refuse_if_used()
            with folder.held():
                yield from _lead(ranks, folder, config, resume, offline)
        else:
            _follow(ranks)


def _lead(
    ranks: Ranks, folder: RunFolder, config: TrainConfig, resume: bool, offline: bool
) -> Generator[Event]:
    """The whole run, as rank 0 or the only process has it."""
    device = ranks.device(resolve_device(config.device))
    bf16 = use_bf16(config.precision, device)
    before = _fitted_before(config, folder.path) if resume else None
    config, fits = before or config, before is not None or not config.memory
    if resume and not fits:
        RunFolder(folder.path).load(config)  # refuses early; what is loaded would be measured too
    saved = folder.load(config) if resume and fits else None
    expected = saved[0].expected_memory if saved and config.memory else 0
    model = initial_model(config, device, offline)
    data = yield from prepared_data(config, folder.cache, device)
    if config.memory:
        data = replace(data, store=FewMapped(folder.cache))
    if not fits:  # before the others are told: they take the same chunk
        config, expected = memory_fit.fit(config, model, data.training, bf16)
        saved = folder.load(config) if resume else None
    folder.learns_from(data.photos)
    warnings = (*data.warnings, *all_backward(config, data.training))
    stages: list[Stage] = []
    photos, atlas = (data.squares, data.training), None
    if config.pretrain.images or config.nuisance.photos:
        atlas = atlas_for(data.store, device)
    if config.pretrain.images:
        taught = yield from prepared_teacher(config, data, folder.cache, device, bf16)
        stages.append(SupervisedStage(model, config, *photos, taught, bf16, atlas))
    if config.nuisance.photos:
        stages.append(NuisanceStage(model, config, *photos, bf16, atlas))
    unlabelled = imitation_tasks(model, config, data, bf16, atlas)
    stages.append(EpisodicStage(model, config, *photos, bf16, ranks, unlabelled))
    progress, resumed = RunProgress(), saved is not None
    if saved is not None:
        progress = saved[0]
        stage = stages[progress.stage]
        if progress.step > stage.num_steps:
            raise LiteError(
                f"This run has taken {progress.step} steps of the {stage.name} stage already.",
                f"It is to take {stage.num_steps}, and cannot go back.",
                "resume with at least as many --tasks as before",
                code=ExitCode.USAGE,
            )
        tensors = {name: torch.from_numpy(value) for name, value in saved[1].items()}
        restore(stages[progress.stage], model, tensors)
        del tensors, saved  # copied: else they would take their room all the run long
    progress = replace(progress, expected_memory=expected)
    ranks.exchange((config, offline, bf16))  # downloads and photos are there: the others begin
    ranks.exchange(None)  # and are ready
    run = Run(config, folder, model, data, stages, progress, bf16)
    folder.write_recipe(config)  # anew on resume: the run may be longer now
    if not resumed:
        for warning in warnings:
            folder.log(f"warning: {warning}")
        run.save()  # from here on there is always a state to resume from
    total = sum(stage.num_steps for stage in stages)
    precision = "bf16" if bf16 else "fp32"
    yield Started(
        data.summary(),
        ranks.on(device),
        precision,
        run.done(),
        total,
        (*folder.warnings, *warnings),
        config.chunk,
        config.query_batch,
        expected,
        film=coverage(model.network) if model.has_film else "",
    )
    yield from run.events()


def _fitted_before(config: TrainConfig, folder: Path) -> TrainConfig | None:
    """`config` with `chunk` and `query_batch` as the run in `folder` has fitted them.

    Smaller ones stay: they are what to do when memory ran out all the same. None where nothing
    was fitted to this memory; what is wrong with the state is said by who loads it.
    """
    for name in ("last", "prev"):
        try:
            metadata = storage.read_metadata(folder / name / STATE_FILE)
            before = json.loads(metadata["config"])
            if not config.memory or before["memory"] != config.memory:
                return None
            chunk, query_batch = int(before["chunk"]), int(before["query_batch"])
        except (LiteError, ValueError, KeyError, TypeError):
            continue
        return replace(
            config,
            chunk=min(config.chunk, chunk),
            query_batch=min(config.query_batch, query_batch),
        )
    return None


def _follow(ranks: Ranks) -> None:
    """Another rank's part: its share of the tasks. What goes wrong here is rank 0's to report."""
    try:
        config, offline, bf16 = ranks.exchange(None)[0]
        with ranks.telling():
            cache = RunFolder(Path(config.out)).cache
            if not cache.is_dir():
                raise LiteError(
                    f"Process {ranks.rank} does not see the run folder {config.out}.",
                    "All processes of a run share it.",
                    "--out on a file system that every machine has, at the same path",
                    code=ExitCode.MACHINE,
                )
            model = initial_model(config, ranks.device(resolve_device(config.device)), offline)
            data = shared_data(config, cache)
            unlabelled = imitation_tasks(model, config, data, bf16)
            stage = EpisodicStage(
                model, config, data.squares, data.training, bf16, ranks, unlabelled
            )
        ranks.exchange(None)
        for _ in stage.steps(0):
            pass  # until the last step, or until rank 0 ends
    except (LiteError, MemoryError, KeyboardInterrupt):
        return
