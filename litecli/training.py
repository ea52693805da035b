"""Meta-training from data to model folder: a generator of events that the caller renders.

    for event in meta_train(config):
        ...

Stages run in order (a supervised one where asked for, then LITE episodes); the weights that do best
on validation tasks are kept in OUT/model. The state is saved at step boundaries, and a step is a
pure function of its number, so a run that was stopped anywhere and resumed ends with the same bits.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from litecli import backbone as backbones
from litecli import teacher
from litecli.config import TrainConfig
from litecli.devices import resolve_device, use_bf16
from litecli.episodic import EpisodicStage
from litecli.errors import ExitCode, LiteError
from litecli.evaluation import mean_and_interval
from litecli.events import Event, Finished, Preparing, Started, Stepped, Validated
from litecli.model import FewShotModel, model_config, write_model
from litecli.model_library import find_model
from litecli.run_folder import Progress, RunFolder, to_toml
from litecli.stages import Stage, restore, state_tensors
from litecli.supervised import SupervisedStage, Teacher
from litecli.training_data import TrainingData, open_data
from litecli.validation import VAL_SHOTS, validate

SAVE_EVERY = 60.0  # seconds between states on disk


def meta_train(config: TrainConfig, resume: bool = False, offline: bool = False) -> Iterator[Event]:
    """Train as `config` says into config.out, yielding events.

    Closing the generator (or Ctrl-C) saves the state first. Raises LiteError: unusable data or
    settings (USAGE, INPUT), no memory or a loss that is not a number (MACHINE).
    """
    device = resolve_device(config.device)
    bf16 = use_bf16(config.precision, device)
    folder = RunFolder(Path(config.out))
    saved = folder.load(config) if resume else None
    if saved is None:
        folder.refuse_if_used()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # for random weights
        built = backbones.build(config.backbone, config.weights, config.image_size, offline)
    check_learnable(config, built.network)
    model = FewShotModel(built, training_head(config))
    model.to(device)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = yield from _prepared(open_data(config, folder.cache), "photos")
    stages: list[Stage] = []
    if config.pretrain.images:
        taught = yield from _taught(config, data, folder)
        stages.append(SupervisedStage(model, config, data.squares, data.training, taught, bf16))
    stages.append(EpisodicStage(model, config, data.squares, data.training, bf16))
    progress = Progress()
    if saved is not None:
        progress = saved[0]
        tensors = {name: torch.from_numpy(value) for name, value in saved[1].items()}
        restore(stages[progress.stage], model, tensors)
    run = _Run(config, folder, model, data, stages, progress, bf16)
    if saved is None:
        folder.start(config)
        run.save()  # from here on there is always a state to resume from
    total = sum(stage.num_steps for stage in stages)
    yield Started(
        data.summary(), device.type, "bf16" if bf16 else "fp32", run.done(), total, data.warnings
    )
    yield from run.events()


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
    ) -> None:
        self.config, self.folder, self.model, self.data = config, folder, model, data
        self.stages, self.progress, self.bf16 = stages, progress, bf16
        self.total = sum(stage.num_steps for stage in stages)

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
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise LiteError(
                "Out of memory.",
                f"A chunk of {self.config.chunk} photos of {self.config.image_size} px did not fit;"
                " the state is saved.",
                f"--chunk {max(1, self.config.chunk // 2)} "
                f"--query-batch {max(1, self.config.query_batch // 2)} --resume",
                code=ExitCode.MACHINE,
            ) from error
        finally:
            if self.stages[self.progress.stage].settled:
                self.save()
        self.folder.draw_curves()
        yield Finished(str(self.folder.model), self.progress.best, self.progress.seconds)

    def _stage_events(self, stage: Stage) -> Iterator[Event]:
        saved = time.monotonic()
        if self._validation_due(stage, self.progress.step):
            yield self._validate(stage, self.progress.step)
        clock = time.monotonic()
        for loss in stage.steps(self.progress.step):
            step = self.progress.step + 1
            if not math.isfinite(loss):
                raise _DivergedError(stage.name, step, self.config)
            self.progress = replace(self.progress, step=step)
            stage.settled = True
            self.folder.record(
                stage=stage.name, step=step, loss=loss, seconds=round(time.monotonic() - clock, 3)
            )
            yield Stepped(stage.name, self.done(), self.total, loss, time.monotonic() - clock)
            if self._validation_due(stage, step):
                yield self._validate(stage, step)
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

    def _validate(self, stage: Stage, step: int) -> Validated:
        way, accuracies = validate(self.model, self.data, self.config, self.bf16)
        accuracy, ci95 = mean_and_interval(accuracies)
        better = accuracy > self.progress.best
        if better:
            self._write_model(f"{stage.name} stage, step {step}", way, accuracy, ci95)
            self.progress = replace(self.progress, best=accuracy)
        # Recorded last: a validation that was cut off is made again by a resumed run.
        self.folder.record(stage=stage.name, step=step, val_accuracy=accuracy, val_ci95=ci95)
        line = f"{stage.name} {step}: {way}-way accuracy {accuracy:.4f} +- {ci95:.4f}"
        self.folder.log(line + (" (best)" if better else ""))
        return Validated(stage.name, step, way, accuracy, ci95, better)

    def _write_model(self, where: str, way: int, accuracy: float, ci95: float) -> None:
        """The model folder as it would be used; the model being trained is left as it is."""
        copy = FewShotModel(
            replace(
                self.model.backbone,
                network=backbones.rebuild(
                    self.model.backbone.architecture, self.model.backbone.architecture_args
                ),
            ),
            self.model.head,
        )
        state = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
        copy.load_state_dict(state)
        name = Path(self.config.out).name
        config = model_config(name, copy, self.config.learner, "auto")
        origin = f"litecli meta-train on {self.data.summary()}; {config.origin}"
        card = (
            f"# {name}\n\n{self.config.learner} on {self.config.backbone}, {origin}.\n\n"
            f"Validation accuracy {100 * accuracy:.1f} ± {100 * ci95:.1f} % ({way}-way "
            f"{VAL_SHOTS}-shot, {self.config.val_tasks} tasks on classes not trained on), "
            f"{where}.\n\nRepeat: `litecli meta-train --config recipe.toml`\n"
        )
        texts = {"README.md": card, "recipe.toml": to_toml(self.config)}
        write_model(copy, replace(config, origin=origin), self.folder.model, texts)


class _DivergedError(LiteError):
    """The loss is not a number: the last saved state is the last good one."""

    def __init__(self, stage: str, step: int, config: TrainConfig) -> None:
        super().__init__(
            f"The loss is not a number at step {step} of the {stage} stage (seed {config.seed}).",
            "Training stopped; the last good state and model are kept.",
            f"--lr {config.lr / 3:.0e} or --precision fp32",
            code=ExitCode.MACHINE,
        )


def _prepared(opening: Iterator, what: str) -> Iterator[Event]:
    """Yield `opening`'s (done, total) as events; its last item is the result."""
    for item in opening:
        if not isinstance(item, tuple):
            return item
        yield Preparing(what, *item)
    raise AssertionError("the data never came")


def _taught(config: TrainConfig, data: TrainingData, folder: RunFolder):
    """The teacher's features, or None when the run has no teacher."""
    settings = config.pretrain
    if not settings.teacher:
        return None
    model = find_model(settings.teacher)
    views = settings.teacher_views
    workers = config.workers or 2
    for done, total in teacher.cache_features(
        model, data.store, data.key, folder.cache, views, config.seed, workers
    ):
        yield Preparing("teacher features", done, total)
    count, size = len(data.store), model.config.num_features
    return Teacher.of(teacher.read_features(folder.cache, views, count, size))


def training_head(config: TrainConfig) -> str:
    """The head episodes train: a ridge learner's is ridge."""
    return "ridge" if config.learner == "ridge" else config.head


def check_learnable(config: TrainConfig, network: torch.nn.Module) -> None:
    """Refuse what cannot learn: random batch-norm networks by frozen-statistics episodes alone."""
    fresh = config.weights == "none" and config.pretrain.images == 0
    if fresh and backbones.batch_norm_layers(network):
        raise LiteError(
            f"{config.backbone} from random weights does not learn from episodes alone.",
            "Its batch-norm statistics are frozen in episodes; a supervised stage sets them first.",
            "--pretrain-images 200000   (or --weights auto)",
            code=ExitCode.USAGE,
        )
