"""A part of a model as an ONNX graph whose weights are the model's own safetensors file.

The graph stores no weights: every initializer that is a tensor of the model points into
model.safetensors by offset and length (ONNX external data), so a model is on disk once and both
paths, torch and onnxruntime, read the same bytes.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import opset18
from onnxscript.optimizer import fold_constants
from torch import nn
from torch.torch_version import TorchVersion

from litecli import storage
from litecli.config import BACKBONE_PREFIX as PREFIX
from litecli.config import WEIGHTS_FILE

SET_PREFIX = "set_encoder."  # of the names of the set encoder's tensors in a model file
INPUT, OUTPUT = "images", "features"
MOST_IMAGES = 2**20  # in a batch: torch 2.6 allows for no number without end


class _Named(nn.Module):
    """Gives a network's parameters the prefix they have in the model file."""

    def __init__(self, network: nn.Module, prefix: str) -> None:
        super().__init__()
        self.part = prefix.removesuffix(".")
        self.add_module(self.part, network)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(self.part)(images)


def export(network: nn.Module, image_size: int, prefix: str = PREFIX) -> onnx.ModelProto:
    """A network's graph, images [B, 3, S, S] -> features [B, D] with B free, weights inside.

    `prefix` goes before the names of its tensors, as in the model file.
    Only constant folding and the removal of unused nodes are applied, so that weights keep their
    names and onnxruntime fuses convolution and norm itself when it loads the graph.
    """
    example = torch.zeros(2, 3, image_size, image_size)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet_exporter():
        warnings.simplefilter("ignore")  # the exporter's own deprecations; nothing a user can mend
        named = _Named(network.cpu().eval(), prefix)
        batch = torch.export.Dim("batch", max=MOST_IMAGES)
        traced = torch.export.export(
            named, (example,), dynamic_shapes={INPUT: {0: batch}}, strict=False
        )
        program = torch.onnx.export(
            traced,
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            custom_translation_table=_translations(),
        )
        assert program is not None
        # A folded weight would lose its name and be stored twice; onnxruntime folds it at loading.
        fold_constants(program.model, should_fold=partial(_touches_no_weight, prefix=prefix))
        RemoveUnusedNodesPass()(program.model)
        graph = onnx_ir.to_proto(program.model)
    for part in (graph.graph, *graph.functions):
        _forget_origins(part)
    return graph


def shared_tensors(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The initializers that belong in model.safetensors: all but small helper constants."""
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.graph.initializer
        if _is_shared(tensor)
    }


def point_into(graph: onnx.ModelProto, weights: Path) -> bytes:
    """The serialised graph with its shared tensors replaced by references into `weights`."""
    offsets = storage.tensor_offsets(weights)
    for tensor in graph.graph.initializer:
        if not _is_shared(tensor):
            continue
        offset, length = offsets[tensor.name]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (
            ("location", WEIGHTS_FILE),
            ("offset", str(offset)),
            ("length", str(length)),
        ):
            tensor.external_data.add(key=key, value=value)
    return graph.SerializeToString()


def _translations() -> dict[Callable, Callable] | None:
    """What torch 2.6 cannot translate with a newer onnxscript; later ones need no help."""
    if torch.__version__ >= TorchVersion("2.7"):
        return None
    return {torch.ops.aten._native_batch_norm_legit_no_training.default: _batch_norm}


def _batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum=0.1, eps=1e-5
) -> tuple[Any, ...]:
    """As onnxscript has it, which reads one output where torch 2.6 gives three."""
    statistics = running_mean, running_var
    outputs: Any = opset18.BatchNormalization(input, weight, bias, *statistics, epsilon=eps)
    return outputs[0], *map(opset18.Identity, statistics)  # nobody reads these two


def _forget_origins(part: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Drop what the exporter noted of each node and value, where its own files lie among it."""
    for item in (*part.node, *part.value_info):
        del item.metadata_props[:]
    for node in part.node:
        for attribute in node.attribute:  # the body of a loop, say
            if attribute.HasField("g"):
                _forget_origins(attribute.g)


def _touches_no_weight(node: onnx_ir.Node, prefix: str) -> bool | None:
    """False for a node that reads a weight of the network, else the optimiser's own choice."""
    names = (value.name for value in node.inputs if value is not None)
    return False if any(name is not None and name.startswith(prefix) for name in names) else None


def _is_shared(tensor: onnx.TensorProto) -> bool:
    return tensor.name.startswith((PREFIX, SET_PREFIX)) or len(tensor.raw_data) > 4096


@contextlib.contextmanager
def _quiet_exporter():
    """The exporter logs its progress as warnings; keep them off the user's screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
