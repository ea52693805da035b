"""How meta-train's events and its plan are shown."""

import contextlib
import shlex
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from litecli.cli.output import Output
from litecli.cli.texts import duration, size
from litecli.config import TrainConfig

if TYPE_CHECKING:
    from litecli.training import events

SCHEMA = "litecli.meta-train/1"
LONG = 3600.0  # seconds; a run that takes longer says so at its first steps
STEPS_TO_JUDGE = 3  # the first steps are slower; after these the rest can be estimated


def show_training(out: Output, run: "Generator[events.Event]", config: TrainConfig) -> None:
    """Show the events of a run; on Ctrl-C, the line that resumes it."""
    shown = _Shown(out)
    try:
        # Closing saves the state when Ctrl-C comes while an event is shown.
        with contextlib.closing(run):
            for event in run:
                shown.show(event)
    except KeyboardInterrupt:
        folder = Path(config.out)
        if (folder / "last").is_dir():  # not before the first step
            recipe = shlex.quote(str(folder / "recipe.toml"))
            out.say(f"What was learned is saved in {folder}")
            out.say(f"Go on with: litecli meta-train --config {recipe} --resume")
        raise


class _Shown:
    """Shows one event after another; remembers which progress line is open."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.preparing: dict[str, Any] = {}
        self.steps: Any = None
        self.validation: Any = None
        self.first = 0
        self.seconds: list[float] = []

    def show(self, event: "events.Event") -> None:
        """Show one event."""
        from litecli.training import events

        if self.out.json:
            kind = type(event).__name__.lower()
            self.out.record({"schema": SCHEMA, "event": kind, **asdict(event)})
        match event:
            case events.Preparing():
                self._preparing(event)
            case events.Started():
                self._started(event)
            case events.Stepped():
                self._stepped(event)
            case events.Validating():
                self._validating(event)
            case events.Validated():
                self._validated(event)
            case events.Finished():
                self._finished(event)
            case _:
                assert_never(event)

    def _preparing(self, event: "events.Preparing") -> None:
        label = event.what.capitalize()
        show = self.preparing.setdefault(label, self.out.progress(label))
        show(event.done, event.total)

    def _started(self, event: "events.Started") -> None:
        self.out.say(f"Training on {event.data}")
        self.out.say(f"  {event.num_steps} steps, {event.device}, {event.precision}")
        if event.film:
            self.out.say(f"  {event.film}")
        if event.expected_memory:
            self.out.say(
                f"  chunk {event.chunk}, query batch {event.query_batch}: "
                f"{size(event.expected_memory)} of memory expected"
            )
        if event.step:
            self.out.say(f"  going on at step {event.step}")
        for warning in event.warnings:
            self.out.say(f"Warning: {warning}")
        self.first = event.step
        self.steps = self.out.progress("Steps", event.step)

    def _stepped(self, event: "events.Stepped") -> None:
        self.seconds.append(event.seconds)
        if len(self.seconds) == STEPS_TO_JUDGE:
            left = min(self.seconds) * (event.num_steps - event.step)
            if left > LONG:
                self.out.say(f"This will take about {duration(left)}.")
                self.out.say("Ctrl-C saves at any time; --resume goes on.")
        self.steps(event.step, event.num_steps, f", {event.stage}, loss {event.loss:.3f}")

    def _validating(self, event: "events.Validating") -> None:
        if event.done == 1:
            self.validation = self.out.progress("Validation tasks")
        self.validation(event.done, event.total)

    def _validated(self, event: "events.Validated") -> None:
        accuracy = f"{100 * event.accuracy:.1f} ± {100 * event.ci95:.1f} %"
        best = ", the best so far" if event.best else ""
        where = f"{event.stage}, step {event.step}"
        self.out.say(f"Validation ({where}): {accuracy}, {event.way}-way{best}")

    def _finished(self, event: "events.Finished") -> None:
        took = duration(event.seconds)
        self.out.result(f"Validation accuracy {100 * event.accuracy:.1f} %, after {took}.")
        self.out.result(f"The model is in {event.model}")
        if event.peak_memory:
            foreseen = f", {size(event.expected_memory)} foreseen" if event.expected_memory else ""
            self.out.say(f"Memory: {size(event.peak_memory)} at the peak{foreseen}")
        self.out.say(f"Next: litecli models add {shlex.quote(event.model)}")


def show_plan(out: Output, config: TrainConfig) -> None:
    """Print what a run would do and cost, without doing it."""
    from litecli.training import planning

    plan = planning.plan(config)
    if out.json:
        out.record({"schema": SCHEMA, "event": "plan", "config": asdict(config), **asdict(plan)})
    tasks = config.episodes
    out.result(f"Data      {plan.data}")
    shape = f"{tasks.way_min}-{tasks.way_max} classes, at most"
    if config.imitation.teacher:
        shape = f"no labels but what {', '.join(config.imitation.teacher)} find alike,"
    out.result(
        f"Tasks     {config.tasks}, {shape} {plan.support} support and {plan.query} query photos "
        f"of {config.image_size} px"
    )
    out.result(f"Learner   {_learner(config)}")
    back = f"{config.gradient}, {plan.backward} of {plan.support} photos go back"
    if config.learner == "maml":  # of --gradient, only small-task concerns it
        steps = f"{config.inner_steps} steps on {plan.backward} of {plan.support} photos"
        back = f"first order, {steps}"
    out.result(f"Gradient  {back}")
    out.result(f"Cost      {plan.macs / 1e9:,.1f} GMACs for the largest task")
    out.result(
        f"Memory    about {size(plan.memory)} for the largest task; "
        f"{size(plan.memory_full)} by ordinary back-propagation"
    )
    if plan.peak:
        out.result(
            f"Fits      --memory {config.memory} with --chunk {plan.chunk} and --query-batch "
            f"{plan.query_batch}: {size(plan.peak)} at the peak, everything together"
        )
    for warning in plan.warnings:
        out.result(f"Warning: {warning}")
    out.result(f"Would write to {config.out}")


def _learner(config: TrainConfig) -> str:
    """The learner, its head, and what becomes of the network."""
    head = "a linear head of the task's own" if config.learner == "maml" else f"head {config.head}"
    parts = [config.learner, head, config.backbone]
    parts += ["FiLM"] * config.uses_film
    power = f" of features to the power {config.feature_power:g}"
    parts += ["a projection" + power * (config.feature_power != 1)] * config.projection
    return ", ".join(parts + ["the network frozen"] * (config.backbone_lr == 0))
