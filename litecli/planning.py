"""What a meta-train run would cost, counted on one image of the real network."""

from dataclasses import dataclass
from typing import Any

from litecli.config import TrainConfig

BYTES_A_WEIGHT = 16  # float32 weight, gradient and Adam's two moments
BACKWARD_MACS = 2  # a backward pass costs about two forward passes


@dataclass(frozen=True)
class Plan:
    """The data, and the largest task's size and cost."""

    data: str
    support: int  # photos, at most
    query: int  # photos, at most
    backward: int  # support photos that go backward
    macs: int  # multiply-accumulates of the largest task
    memory: int  # bytes: weights and the graph of one chunk
    memory_full: int  # bytes: weights and the graph of the whole task
    warnings: tuple[str, ...]


def plan(config: TrainConfig) -> Plan:
    """Read the names of the data and build the network; raises LiteError as training would."""
    from litecli import backbone, datasets

    weights = "none" if config.weights == "auto" else config.weights  # a plan downloads nothing
    network = backbone.build(config.backbone, weights, config.image_size).network
    warnings: list[str] = []
    episodes = config.episodes
    way, support = episodes.way_max, episodes.support_max
    query = way * episodes.query
    data = "built-in drawn objects"
    if config.data:
        dataset = datasets.read_dataset(config.data)
        classes = dataset.num_classes()
        data = f"{len(dataset.paths)} photos of {classes} classes in {', '.join(config.data)}"
        most = max(len(source.classes) for source in dataset.sources)
        if most < way:
            warnings.append(f"tasks have at most {most} classes, not {way}")
            way = most
            query = way * episodes.query
        pools = sorted((len(p) for s in dataset.sources for p in s.support), reverse=True)
        support = min(support, sum(pools[:way]))
        query = min(query, sum(pools[:way]) - way)
    backward = {"lite": min(config.lite_h, support), "none": 0}.get(config.gradient, support)
    per_image = backbone.count_macs(network, config.image_size)
    activations = graph_bytes(network, config.image_size)
    weight_bytes = BYTES_A_WEIGHT * sum(p.numel() for p in network.parameters())
    at_once = min(max(config.chunk, config.query_batch), support + query)
    whole = weight_bytes + activations * (support + query)
    full = config.gradient == "full"
    passes = (0 if full else support) + (1 + BACKWARD_MACS) * (backward + query)
    return Plan(
        data=data,
        support=support,
        query=query,
        backward=backward,
        macs=per_image * passes,
        memory=whole if full else weight_bytes + activations * at_once,
        memory_full=whole,
        warnings=tuple(warnings),
    )


def graph_bytes(network: Any, image_size: int) -> int:
    """Bytes that autograd keeps of one image's forward pass, the weights left out."""
    import torch

    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.enable_grad():
        features = network(torch.zeros(1, 3, image_size, image_size))
        total = sum(kept.values())
    del features
    return total
