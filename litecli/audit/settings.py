"""What `litecli audit` compares unless told otherwise, and the learners that it takes. No torch."""

from dataclasses import dataclass

from litecli.config import LEARNERS

# maml has no support gradient of this kind: its steps go through the whole support set.
AUDITED = tuple(learner for learner in LEARNERS if learner != "maml")


@dataclass(frozen=True)
class AuditSettings:
    """The size of an audit."""

    way: int = 5  # classes of a task
    support: int = 60  # photos of a task's support set, about
    query: int = 3  # photos per class, at most
    tasks: int = 2
    draws: int = 30  # of each random gradient, in each task
    lite_h: tuple[int, ...] = (5, 10, 20)
    seed: int = 0
