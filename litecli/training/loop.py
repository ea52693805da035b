"""The loop of a run: steps, validations, states on disk, and what to say when it goes wrong."""

import math
import time
from collections.abc import Generator
from dataclasses import replace

from litecli import memory
from litecli.config import TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.evaluation.evaluation import mean_and_interval
from litecli.networks.model import FewShotModel
from litecli.pictures.training_data import TrainingData
from litecli.training import planning
from litecli.training.best_model import write_best
from litecli.training.events import Event, Finished, Stepped, Validated, Validating
from litecli.training.meter import measured_peak
from litecli.training.run_folder import RunFolder, RunProgress
from litecli.training.stages import Stage, state_tensors
from litecli.training.validation import validate

SAVE_EVERY = 60.0  # seconds between states on disk


class Run:
    """The loop over stages and steps, with its saving and validating."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        model: FewShotModel,
        data: TrainingData,
        stages: list[Stage],
        progress: RunProgress,
        bf16: bool,
    ) -> None:
        self.config, self.folder, self.model, self.data = config, folder, model, data
        self.stages, self.progress, self.bf16 = stages, progress, bf16
        self.total = sum(stage.num_steps for stage in stages)
        self.validating = False

    def done(self) -> int:
        """Steps taken so far, all stages together."""
        before = self.stages[: self.progress.stage]
        return sum(stage.num_steps for stage in before) + self.progress.step

    def events(self) -> Generator[Event]:
        """Take the remaining steps, saving however they end; LiteError: diverged, or no memory."""
        started, seconds = time.monotonic(), self.progress.seconds
        try:
            for number in range(self.progress.stage, len(self.stages)):
                if number != self.progress.stage:
                    before = self.stages[self.progress.stage].optimizer
                    self.progress = replace(self.progress, stage=number, step=0)
                    before.zero_grad(set_to_none=True)  # three times the weights, of no more use
                    before.state.clear()
                for event in self._stage_events(self.stages[number]):
                    elapsed = seconds + time.monotonic() - started
                    self.progress = replace(self.progress, seconds=elapsed)
                    yield event
        except (MemoryError, RuntimeError) as error:
            if not memory.is_out_of_memory(error):
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
        peak = measured_peak(self.model.log_scale.device)
        if peak:
            expected = self.progress.expected_memory
            foreseen = f" ({memory.written(expected)} foreseen)" if expected else ""
            self.folder.log(f"memory at the peak: {memory.written(peak)}{foreseen}")
        yield Finished(
            str(self.folder.model),
            self.progress.best,
            self.progress.seconds,
            peak,
            self.progress.expected_memory,
        )

    def _stage_events(self, stage: Stage) -> Generator[Event]:
        saved = time.monotonic()
        if self._validation_due(stage, self.progress.step):
            yield from self._validate(stage, self.progress.step)
        clock = time.monotonic()
        for loss in stage.steps(self.progress.step):
            step = self.progress.step + 1
            if not math.isfinite(loss):
                raise DivergedError(stage.name, step, self.bf16, self.config)
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
        if step != stage.num_steps and (step % every or stage.changes_at_end):
            return False
        if step == 0 and every > stage.num_steps > 0:
            return False  # to be validated at the end only
        if step == 0 and any(before.num_steps for before in self.stages[: self.progress.stage]):
            return False  # the weights are those that the stage before was validated with
        return not any(
            row["stage"] == stage.name and int(row["step"]) == step and row.get("val_accuracy")
            for row in self.folder.rows
        )

    def save(self) -> None:
        """Write the state of the stage, its optimiser and the model."""
        self._give_back()
        stage = self.stages[self.progress.stage]
        tensors = {
            name: value.detach().cpu().numpy()
            for name, value in state_tensors(stage, self.model).items()
        }
        self.folder.save(self.progress, tensors, self.config)
        self._give_back()

    def _give_back(self) -> None:
        """Where memory is limited, what was freed is not there beside what comes next."""
        if self.config.memory:
            memory.give_back()

    def _validate(self, stage: Stage, step: int) -> Generator[Validating | Validated]:
        self._give_back()
        self.validating = True
        way, accuracies = yield from validate(self.model, self.data, self.config, self.bf16)
        self.validating = False
        accuracy, ci95 = mean_and_interval(accuracies)
        better = accuracy >= self.progress.best  # of two alike, the one that learned for longer
        if better:
            where = f"{stage.name} stage, step {step}"
            write_best(
                self.model, self.config, self.folder.model, self.data, where, way, accuracies
            )
            self.progress = replace(self.progress, best=accuracy)
        self._give_back()
        # Recorded last: a validation that was cut off is made again by a resumed run.
        self.folder.record(stage=stage.name, step=step, val_accuracy=accuracy, val_ci95=ci95)
        line = f"{stage.name} {step}: {way}-way accuracy {accuracy:.4f} +- {ci95:.4f}"
        self.folder.log(line + (" (best)" if better else ""))
        yield Validated(stage.name, step, way, accuracy, ci95, better)


class DivergedError(LiteError):
    """The loss is not a number: the last saved state is the last good one."""

    def __init__(self, stage: str, step: int, bf16: bool, config: TrainConfig) -> None:
        or_precise = " or --precision fp32," if bf16 else ""
        if stage == "supervised":
            slower = f"lr = {config.pretrain.lr / 3:.1g} below [pretrain] in the recipe (--config)"
        elif stage == "nuisance":
            slower = "other --weights"  # nothing learns by slopes there
        elif config.learner == "maml":
            slower = f"--inner-lr {config.inner_lr / 3:.1g}"
        else:
            slower = f"--lr {config.lr / 3:.1g}"
        super().__init__(
            f"The loss is not a number at step {step} of the {stage} stage (seed {config.seed}).",
            "Training stopped; the last good state and model are kept.",
            f"{slower}{or_precise} and another --out",
            code=ExitCode.MACHINE,
        )
