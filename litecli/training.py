"""Meta-training from data to model folder: a generator of events that the caller renders.

    for event in meta_train(config):
        ...

Stages run in order (a supervised one where asked for, then LITE episodes); the weights that do best
on validation tasks are kept in OUT/model. The state is saved at step boundaries, and a step is a
pure function of its number, so a run that was stopped anywhere and resumed ends with the same bits.
"""

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from litecli import planning, rehearsal
from litecli.atlas import atlas_for
from litecli.best_model import write_best
from litecli.config import TrainConfig
from litecli.devices import resolve_device, use_bf16
from litecli.episodic import EpisodicStage
from litecli.errors import ExitCode, LiteError
from litecli.evaluation import mean_and_interval
from litecli.events import Event, Finished, Started, Stepped, Validated, Validating
from litecli.film import coverage
from litecli.memory import is_out_of_memory, kept, written
from litecli.model import FewShotModel
from litecli.ranks import Ranks, joined
from litecli.run_folder import Progress, RunFolder
from litecli.run_setup import initial_model, prepared_data, prepared_teacher
from litecli.stages import Stage, restore, state_tensors
from litecli.supervised import SupervisedStage
from litecli.training_data import TrainingData, open_data
from litecli.validation import validate

SAVE_EVERY = 60.0  # seconds between states on disk


def meta_train(
    config: TrainConfig, resume: bool = False, offline: bool = False
) -> Generator[Event]:
    """Train as `config` says into config.out, yielding events.

    Under torchrun the processes train together, and the events are rank 0's alone (ranks.py).
    Closing the generator (or Ctrl-C) saves the state first. Raises LiteError: unusable data or
    settings (USAGE, INPUT), no memory or a loss that is not a number (MACHINE).
    """
    with joined() as ranks, kept():
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
    saved = folder.load(config) if resume else None
    model = initial_model(config, device, offline)
    data = yield from prepared_data(config, folder.cache)
    expected = 0
    if config.memory:  # before the others are told: they take the same chunk
        config, expected = rehearsal.fit(config, model, data.training, bf16)
    stages: list[Stage] = []
    if config.pretrain.images:
        taught = yield from prepared_teacher(config, data, folder.cache, device, bf16)
        atlas = atlas_for(data.store, device)
        stages.append(
            SupervisedStage(model, config, data.squares, data.training, taught, bf16, atlas)
        )
    stages.append(EpisodicStage(model, config, data.squares, data.training, bf16, ranks))
    progress = Progress()
    if saved is not None:
        progress = saved[0]
        tensors = {name: torch.from_numpy(value) for name, value in saved[1].items()}
        restore(stages[progress.stage], model, tensors)
    ranks.exchange((config, offline, bf16))  # downloads and photos are there: the others begin
    ranks.exchange(None)  # and are ready
    run = _Run(config, folder, model, data, stages, progress, bf16, expected)
    if saved is None:
        folder.start(config)
        for warning in data.warnings:
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
        (*folder.warnings, *data.warnings),
        config.chunk,
        config.query_batch,
        expected,
        film=coverage(model.network) if model.has_film else "",
    )
    yield from run.events()


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
            (data,) = [d for d in open_data(config, cache) if isinstance(d, TrainingData)]
            stage = EpisodicStage(model, config, data.squares, data.training, bf16, ranks)
        ranks.exchange(None)
        for _ in stage.steps(0):
            pass  # until the last step, or until rank 0 ends
    except (LiteError, MemoryError, KeyboardInterrupt):
        return


class _Run:
    """The loop over stages and steps, with its saving and validating."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        model: FewShotModel,
        data: TrainingData,
        stages: list[Stage],
        progress: Progress,
        bf16: bool,
        expected_memory: int,
    ) -> None:
        self.config, self.folder, self.model, self.data = config, folder, model, data
        self.stages, self.progress, self.bf16 = stages, progress, bf16
        self.expected_memory = expected_memory
        self.total = sum(stage.num_steps for stage in stages)
        self.validating = False

    def done(self) -> int:
        """Steps taken so far, all stages together."""
        before = self.stages[: self.progress.stage]
        return sum(stage.num_steps for stage in before) + self.progress.step

    def events(self) -> Iterator[Event]:
        """Take the remaining steps; the state is saved however this ends."""
        started, seconds = time.monotonic(), self.progress.seconds
        try:
            for number in range(self.progress.stage, len(self.stages)):
                if number != self.progress.stage:
                    self.progress = replace(self.progress, stage=number, step=0)
                for event in self._stage_events(self.stages[number]):
                    elapsed = seconds + time.monotonic() - started
                    self.progress = replace(self.progress, seconds=elapsed)
                    yield event
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            stage = self.stages[self.progress.stage].name
            stage = "validation" if self.validating else stage
            raise planning.out_of_memory(
                self.config, self.model, self.data.training, self.bf16, stage
            ) from error
        finally:
            if self.stages[self.progress.stage].settled:
                self.save()
        self.folder.draw_curves()
        peak = rehearsal.measured_peak(self.model.log_scale.device)
        if peak:
            foreseen = f" ({written(self.expected_memory)} foreseen)" * bool(self.expected_memory)
            self.folder.log(f"memory at the peak: {written(peak)}{foreseen}")
        yield Finished(
            str(self.folder.model),
            self.progress.best,
            self.progress.seconds,
            peak,
            self.expected_memory,
        )

    def _stage_events(self, stage: Stage) -> Iterator[Event]:
        saved = time.monotonic()
        if self._validation_due(stage, self.progress.step):
            yield from self._validate(stage, self.progress.step)
        clock = time.monotonic()
        for loss in stage.steps(self.progress.step):
            step = self.progress.step + 1
            if not math.isfinite(loss):
                raise _DivergedError(stage.name, step, self.bf16, self.config)
            self.progress = replace(self.progress, step=step)
            stage.settled = True
            self.folder.record(
                stage=stage.name, step=step, loss=loss, seconds=round(time.monotonic() - clock, 3)
            )
            yield Stepped(stage.name, self.done(), self.total, loss, time.monotonic() - clock)
            if self._validation_due(stage, step):
                yield from self._validate(stage, step)
            if time.monotonic() - saved > SAVE_EVERY:
                self.save()
                self.folder.draw_curves()
                saved = time.monotonic()
            clock = time.monotonic()

    def _validation_due(self, stage: Stage, step: int) -> bool:
        """Whether this step asks for a validation that a session before has not made."""
        every = self.config.val_every or max(1, math.ceil(stage.num_steps / 10))
        if step % every and step != stage.num_steps:
            return False
        if step == 0 and every > stage.num_steps > 0:
            return False  # to be validated at the end only
        return not any(
            row["stage"] == stage.name and int(row["step"]) == step and row.get("val_accuracy")
            for row in self.folder.rows
        )

    def save(self) -> None:
        """Write the state of the stage, its optimiser and the model."""
        stage = self.stages[self.progress.stage]
        tensors = {
            name: value.detach().cpu().numpy()
            for name, value in state_tensors(stage, self.model).items()
        }
        self.folder.save(self.progress, tensors, self.config)

    def _validate(self, stage: Stage, step: int) -> Generator[Validating | Validated]:
        self.validating = True
        way, accuracies = yield from validate(self.model, self.data, self.config, self.bf16)
        self.validating = False
        accuracy, ci95 = mean_and_interval(accuracies)
        better = accuracy > self.progress.best
        if better:
            where = f"{stage.name} stage, step {step}"
            write_best(
                self.model, self.config, self.folder.model, self.data, where, way, accuracies
            )
            self.progress = replace(self.progress, best=accuracy)
        # Recorded last: a validation that was cut off is made again by a resumed run.
        self.folder.record(stage=stage.name, step=step, val_accuracy=accuracy, val_ci95=ci95)
        line = f"{stage.name} {step}: {way}-way accuracy {accuracy:.4f} +- {ci95:.4f}"
        self.folder.log(line + (" (best)" if better else ""))
        yield Validated(stage.name, step, way, accuracy, ci95, better)


class _DivergedError(LiteError):
    """The loss is not a number: the last saved state is the last good one."""

    def __init__(self, stage: str, step: int, bf16: bool, config: TrainConfig) -> None:
        or_precise = " or --precision fp32," if bf16 else ""
        super().__init__(
            f"The loss is not a number at step {step} of the {stage} stage (seed {config.seed}).",
            "Training stopped; the last good state and model are kept.",
            f"--lr {config.lr / 3:.1g}{or_precise} and another --out",
            code=ExitCode.MACHINE,
        )
