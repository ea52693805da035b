"""Small models that more than one test file needs."""

import torch
from torch import nn

from litecli import backbone
from litecli.film import film_layers
from litecli.model import FewShotModel

SIDE = 32  # pixels


def build_cnaps() -> FewShotModel:
    """A CNAPs model whose norms, generator and head all do something: some of it starts at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = FewShotModel(backbone.build("test_byobnet", "none", SIDE), "generated", film=True)
        parameters = dict(model.network.named_parameters())
        for layer in film_layers(model.network):
            nn.init.uniform_(parameters[f"{layer.name}.weight"], 0.5, 1.5)
            nn.init.normal_(parameters[f"{layer.name}.bias"], 0, 0.1)
        assert model.generator is not None and model.head_generator is not None
        for parameter in model.generator.parameters():
            nn.init.normal_(parameter, std=0.3)
        nn.init.normal_(model.head_generator.outer_weight, std=0.05)
    return model
