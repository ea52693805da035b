"""What a meta-train run would cost, counted on the real network; advice when it was too much."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from litecli import memory
from litecli.config import TrainConfig, head_of_learner
from litecli.errors import ExitCode, LiteError
from litecli.library.model_library import find_model
from litecli.networks import backbone
from litecli.networks.devices import resolve_device, use_bf16
from litecli.networks.model import FewShotModel
from litecli.pictures import training_data
from litecli.tasks.episodes import Source
from litecli.training import memory_fit, rehearsal, task_cost, task_size
from litecli.training.run_setup import check_learnable

PROCESS = 800_000_000  # bytes of Python, torch and the other libraries in a process's memory
SAFE = 0.8  # share of the memory there is that advice may fill


@dataclass(frozen=True)
class Plan:
    """The data, and the largest task's size and cost."""

    data: str
    support: int  # photos, at most
    query: int  # photos, at most
    backward: int  # support photos that go backward; of maml, in each inner step
    macs: int  # multiply-accumulates of the largest task
    memory: int  # bytes: weights and the graphs that are there at once
    memory_full: int  # bytes: weights and the graph of the whole task
    warnings: tuple[str, ...]
    chunk: int  # photos in the network at once, fitted to the memory if one was asked for
    query_batch: int
    peak: int  # bytes of the whole run, as rehearsed; 0 when no memory was asked for


def plan(config: TrainConfig) -> Plan:
    """Read the names of the data and build the network; raises LiteError as training would."""
    for name in (*config.pretrain.teacher, *config.imitation.teacher):
        find_model(name)  # or LiteError, before anything is computed
    built = _network(config)
    check_learnable(config, built.network)
    if config.projection or built.projected:  # to another power, perhaps
        built = backbone.with_projection(built, config.feature_power)
    config = replace(config, projection=built.projected)
    dataset, held_out = training_data.run_dataset(config)
    every_photo = np.ones(len(dataset.paths), bool)  # none has been looked at
    parts = training_data.divided(config, dataset, held_out, every_photo)
    data, sources = "built-in drawn objects", ()
    if config.data:
        sources = parts.training
        named = dataset.sources[: len(dataset.sources) - held_out]
        classes = sum(len(source.classes) for source in named)
        photos = sum(len(pool) for s in named for pool in (*s.support, *(s.query or ())))
        data = f"{photos} photos of {classes} classes in {', '.join(config.data)}"
    task = task_size.largest_task(config, sources)
    model = FewShotModel(built, head_of_learner(config.learner, config.head), config.uses_film)
    fixed, graphs = task_cost.weight_bytes(config, model), task_cost.graphs_of(config, model)
    everything = task.support + task.query
    whole = replace(config, gradient="full", chunk=everything, query_batch=everything)
    macs = task_cost.task_macs(config, model, task)
    peak = 0
    if config.memory:
        device = resolve_device(config.device)
        model, bf16 = model.to(device), use_bf16(config.precision, device)
        config, peak = memory_fit.fit(config, model, sources, bf16)
    return Plan(
        data=data,
        support=task.support,
        query=task.query,
        backward=task_size.goes_back(config, task),
        macs=macs,
        memory=fixed + graphs.peak(config, task),
        memory_full=fixed + graphs.peak(whole, task),
        warnings=(*parts.warnings, *task_size.all_backward(config, sources)),
        chunk=config.chunk,
        query_batch=config.query_batch,
        peak=peak,
    )


def _network(config: TrainConfig) -> backbone.Backbone:
    """The run's network; a plan downloads nothing, so weights from the hub are left out of it."""
    weights = "none" if config.weights == "auto" else config.weights
    try:
        return backbone.build(
            config.backbone, weights, config.image_size, offline=True, pooled=config.pooled
        )
    except LiteError as error:
        if error.code != ExitCode.NETWORK:
            raise
        raise LiteError(
            f"A plan downloads nothing, and what {config.backbone} is, the hub says.",
            error.why,
            f"{error.fix}; or the same command without --dry-run",
            code=ExitCode.NETWORK,
        ) from error


def out_of_memory(
    config: TrainConfig, model: FewShotModel, sources: Sequence[Source], bf16: bool, stage: str
) -> LiteError:
    """The error of a run that ran out of memory in `stage`: about what it needs, and what fits.

    `stage` is a stage's name, or "validation". Counted on one photo; where there is no memory left
    for that either, the advice has no numbers.
    """
    device = model.log_scale.device
    task = task_size.largest_task(config, sources)
    # The supervised stage trains the network whatever the tasks do.
    trained = replace(config, backbone_lr=1.0) if stage == "supervised" else config
    counted = True
    try:
        graphs = task_cost.graphs_of(trained, model, bf16)
    except (RuntimeError, MemoryError) as error:
        if not memory.is_out_of_memory(error):
            raise
        graphs, counted = task_cost.Graphs(0, 0), False
    fixed = task_cost.weight_bytes(trained, model)
    there = 0
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    elif device.type == "cpu":
        fixed += PROCESS
        there = memory.available() + memory.resident()

    def need(chunk: int) -> int:
        lower = replace(config, chunk=chunk, query_batch=min(config.query_batch, chunk))
        return fixed + round(rehearsal.SPREAD * graphs.peak(lower, task))

    chunk = max(1, min(max(config.chunk, config.query_batch), task.support + task.query) // 2)
    while chunk > 1 and there and need(chunk) > SAFE * there:
        chunk //= 2

    def about(size: int) -> str:
        return f" (about {memory.written(size)})" if counted else ""

    lower = f"--chunk {chunk} --query-batch {min(config.query_batch, chunk)}"
    fix = f"{lower} --resume{about(need(chunk))}"
    needed = need(max(config.chunk, config.query_batch))
    what = f"With {task.support} support photos of {config.image_size} px this"
    if stage == "supervised":
        batch, side = config.pretrain.batch, config.pretrain.image_sizes[-1]
        area = (side / config.image_size) ** 2
        needed = fixed + round(rehearsal.SPREAD * graphs.network * batch * area)
        what = f"A batch of {batch} photos of {side} px"
        fix = f"a new --out and, in a --config file, [pretrain] batch = {max(1, batch // 2)}"
    elif config.gradient == "full" and stage != "validation":
        exact = replace(config, gradient="exact")
        size = fixed + round(rehearsal.SPREAD * graphs.peak(exact, task))
        fix = f"a new --out with --gradient exact --chunk {config.chunk}{about(size)}"
    # A limit on the process is not seen here: then the number would only confuse.
    can = f", and {memory.written(there)} can be had" if 0 < there < needed else ""
    return LiteError(
        "Out of memory; the state is saved.",
        f"{what} needs about {memory.written(needed)}{can}."
        if counted
        else f"{what} needs more than there is; not one photo could be tried.",
        fix,
        code=ExitCode.MACHINE,
    )
