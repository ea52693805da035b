"""`--memory`: the largest passes with which a run fits, found by rehearsing it."""

from collections.abc import Sequence
from dataclasses import replace

from litecli import memory
from litecli.config import TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source
from litecli.training.rehearsal import Rehearsal
from litecli.training.task_size import at_once, largest_task

STRAIGHT = 16  # photos; ordinary back-propagation grows in a straight line from there


def fit(
    config: TrainConfig, model: FewShotModel, sources: Sequence[Source], bf16: bool
) -> tuple[TrainConfig, int]:
    """`config` with `chunk` and `query_batch` lowered until the run fits `config.memory`.

    Also returns the peak to expect in bytes: of the whole process on a CPU, of torch's tensors on
    CUDA. Photos go through the real network, more and more at a time. Raises LiteError (MACHINE)
    when the run cannot fit, with what it needs; USAGE on a device that does not tell, or with
    teachers.
    """
    if config.pretrain.teacher or config.imitation.teacher:
        raise LiteError(
            "--memory cannot foresee what teachers take.",
            "They are loaded after the rehearsal, beside the run.",
            "leave --memory out; a smaller batch in [pretrain], and --chunk, take less",
            code=ExitCode.USAGE,
        )
    limit = memory.read_size(config.memory)
    task = largest_task(config, sources)
    most = at_once(config, task)
    full = config.gradient == "full"
    rehearsal = Rehearsal(config, model, bf16)
    writing = rehearsal.writing(limit)  # first: the libraries that it loads stay
    beside = rehearsal.head_bytes(task.support)
    photos = rehearsal.grow(min(most, STRAIGHT) if full else most, limit - beside)
    peak = rehearsal.expected(most if full else photos) + beside
    whole = f"{task.support} support and {task.query} query photos at once need"
    needs = {
        whole if full else "Even one photo at a time needs": peak,
        "Writing the model needs": writing,
        f"The supervised stage, with batches of {config.pretrain.batch}, needs": (
            rehearsal.supervised(limit)
        ),
    }
    what_needs, size = max(needs.items(), key=lambda item: item[1])
    if size > limit:  # the largest of them: with what it needs, all others fit as well
        raise _does_not_fit(config, what_needs, size, chunked=what_needs != whole)
    memory.give_back()
    if photos < most and not full:
        config = replace(
            config, chunk=min(config.chunk, photos), query_batch=min(config.query_batch, photos)
        )
    return config, max(rehearsal.so_far(), *needs.values())


def _does_not_fit(config: TrainConfig, what_needs: str, peak: int, chunked: bool) -> LiteError:
    """What the run needs, and what to change."""
    enough = memory.written(1.1 * peak).replace(" ", "")
    return LiteError(
        f"This run does not fit --memory {config.memory}.",
        f"{what_needs} about {memory.written(peak)}.",
        f"--memory {enough}, a smaller --image-size or another --backbone"
        if chunked
        else "--gradient exact, which gives the same gradient chunk by chunk",
        code=ExitCode.MACHINE,
    )
