"""What `litecli evaluate` does unless told otherwise, and what it compares with. No torch."""

from dataclasses import dataclass

from litecli.config import ModelConfig


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


def runs_in_torch(config: ModelConfig, head: str | None, baseline: Baseline | None) -> bool:
    """Whether a model's way to adapt, or the baseline's, runs in torch and so on any device.

    Gradient steps on photos do, those too that a model of maml was trained with, and FiLM.
    """
    if baseline is not None:
        return baseline.on_photos
    return bool(config.film) or (config.inner_steps > 0 and head is None)
