"""What `litecli evaluate` does unless told otherwise, and what it compares with. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluateDefaults:
    """The tasks of `litecli evaluate`."""

    way: int = 5
    shots: int = 5
    query: int = 15  # per class
    tasks: int = 600


@dataclass(frozen=True)
class Baseline:
    """A way to adapt that `litecli evaluate --baseline` compares with, and its gradient steps."""

    name: str
    steps: int = 0
    lr: float = 0.0
    on_photos: bool = False  # the steps need the photos, not only their features


BASELINES = {
    baseline.name: baseline
    for baseline in (
        Baseline("linear"),
        Baseline("finetune", 50, 1e-3),  # Adam, as ORBIT's FineTuner
        Baseline("finetune-film", 50, 1e-3, on_photos=True),
        # SGD, as ORBIT's MAML; at 1e-2 the steps diverge from ImageNet weights.
        Baseline("maml", 15, 1e-3, on_photos=True),
    )
}
