"""What a training run tells its caller while it goes on: plain data, rendered elsewhere."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preparing:
    """Reading photos, or teaching features, before the first step."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Started:
    """The run begins (or goes on) at `step` of `num_steps`, all stages together.

    With a memory budget: how many photos go through the network at once, and the peak in bytes
    to expect with that; 0 without one.
    """

    data: str
    device: str
    precision: str
    step: int
    num_steps: int
    warnings: tuple[str, ...]
    chunk: int = 0
    query_batch: int = 0
    expected_memory: int = 0
    film: str = ""  # which norm layers FiLM reaches; empty without FiLM


@dataclass(frozen=True)
class Stepped:
    """One optimiser step was taken; `step` counts over all stages, `seconds` is the step's."""

    stage: str
    step: int
    num_steps: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class Validating:
    """Validation tasks done of a learner that takes long for each."""

    done: int
    total: int


@dataclass(frozen=True)
class Validated:
    """Accuracy on validation tasks (fractions); `best` when it is the best so far."""

    stage: str
    step: int
    way: int
    accuracy: float
    ci95: float
    best: bool


@dataclass(frozen=True)
class Finished:
    """All steps are done; `accuracy` is the best validation accuracy, OUT/model holds it.

    `peak_memory` in bytes is the most this session had at once (0: the system does not tell),
    `expected_memory` what a memory budget had foreseen (0: none was asked for).
    """

    model: str
    accuracy: float
    seconds: float
    peak_memory: int = 0
    expected_memory: int = 0


Event = Preparing | Started | Stepped | Validating | Validated | Finished
