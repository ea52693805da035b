"""A few-shot model: network, head and learned scale together."""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from litecli.heads.generated import HIDDEN, generate_weights, linear_scores
from litecli.heads.heads import HEADS
from litecli.heads.labelled import class_means, one_hot, unit_rows
from litecli.heads.ridge import USUAL_LAMBDA
from litecli.lite import Learner
from litecli.networks.backbone import Backbone
from litecli.networks.devices import depthwise_in_fp32
from litecli.networks.film import Generator, SetEncoder, check_film
from litecli.networks.parts import projection_name

# What a head's scores are multiplied by before the softmax, at the start of training. Cosines and
# ridge outputs live within -1 to 1 and are stretched, by 10. Squared distances of pretrained
# features are large: unscaled, a softmax of them starts far surer than right (a loss of 6 instead
# of 0.8 in Mahalanobis tasks of 5 kinds of playing cards, 10 photos each).
START_SCALES = {"euclidean": 0.03, "mahalanobis": 0.1}


class FewShotModel(nn.Module):
    """A few-shot learner on a timm network: features, perhaps FiLM, and a head.

    ProtoNets (Snell et al., 2017), R2-D2 ridge (Bertinetto et al., 2019), CNAPs (Requeima et al.,
    2019), Simple CNAPs (Bateni et al., 2020) are one class with different parts. The network stays
    in evaluation mode: batch statistics are frozen and no layer draws random numbers, so an
    image's features never depend on its neighbours.
    """

    def __init__(self, backbone: Backbone, head: str, film: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.network = backbone.network.eval()
        depthwise_in_fp32(self.network)
        self.head = head
        start = START_SCALES.get(head, 10.0)
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)))
        self.head_generator = HeadGenerator(backbone.num_features) if head == "generated" else None
        self.set_encoder = self.generator = None
        if film:
            layers = check_film(self.network, backbone.architecture)
            self.set_encoder, self.generator = SetEncoder(), Generator(layers)

    @property
    def has_film(self) -> bool:
        """Whether a support set gives the network's norm layers new values."""
        return self.generator is not None

    @property
    def projection(self) -> list[nn.Parameter]:
        """The weights of a projection behind the network: new to it, they learn as a head does."""
        if not self.backbone.projected:
            return []
        return list(self.network.get_submodule(projection_name(self.network)).parameters())

    def ask_for_gradients(self, network: bool) -> None:
        """Of everything in episodes, but of the network's own weights only with `network`."""
        self.requires_grad_(True)
        self.network.requires_grad_(network)
        for parameter in self.projection:
            parameter.requires_grad_(True)

    def train(self, mode: bool = True) -> "FewShotModel":
        """Training mode concerns gradients only; the layers stay in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def embed(self, images: Tensor, bf16: bool = False) -> Tensor:
        """The set encoder's outputs [B, 64] of images [B, 3, S, S]."""
        assert self.set_encoder is not None, "only a model with FiLM has a set encoder"
        images = self._placed(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            return self.set_encoder(images).to(self.log_scale)

    def generate(self, outputs: Tensor) -> dict[str, Tensor]:
        """The network's norm parameters for a support set with set encoder's outputs [N, 64]."""
        assert self.generator is not None, "only a model with FiLM has a generator"
        return self.generator(outputs, dict(self.network.named_parameters()))

    def features(
        self, images: Tensor, bf16: bool = False, film: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Features [B, D] of images [B, 3, S, S], in the precision and on the device of the model.

        `film` replaces norm parameters of the network for this call.
        """
        images = self._placed(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            if film:  # every norm layer has its own: to look for tied ones takes a millisecond
                features = functional_call(self.network, dict(film), (images,), tie_weights=False)
            else:
                features = self.network(images)
        return features.to(self.log_scale)

    def fit(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The head's parameters of one task, and the scale: differentiable in `features` [N, D].

        `labels` [N] are 0 to C-1. Which parameters: those of the head's `fit` (heads.py), of the
        generated head `weights` [C, D + 1].
        """
        num_classes = int(labels.max()) + 1
        if self.head_generator is not None:
            known = unit_rows(features)
            means = class_means(known, one_hot(labels, num_classes, known))
            fitted = {"weights": self.head_generator(means)}
        else:
            lam = USUAL_LAMBDA if self.head == "ridge" else 0.0
            fitted = HEADS[self.head].fit(features, labels, num_classes, strength=0.0, lam=lam)
        return {**fitted, "scale": self.log_scale.exp()}

    def scores(self, fitted: Mapping[str, Tensor], queries: Tensor) -> Tensor:
        """Logits [M, C] of query features [M, D]."""
        if self.head_generator is not None:
            scores = linear_scores(fitted["weights"], unit_rows(queries))
        else:
            params = {name: value for name, value in fitted.items() if name != "scale"}
            scores = HEADS[self.head].score(params, queries)
        return scores * fitted["scale"]

    def summed_loss(self, fitted: dict[str, Tensor], queries: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy summed over a query batch [M, D] with labels [M]."""
        return functional.cross_entropy(self.scores(fitted, queries), labels, reduction="sum")

    def functions(self, bf16: bool = False) -> Learner:
        """This learner as the functions that lite.py takes."""
        return Learner(
            encode=lambda images, film: self.features(images, bf16, film),
            fit=self.fit,
            loss=self.summed_loss,
            embed=partial(self.embed, bf16=bf16) if self.has_film else None,
            generate=self.generate if self.has_film else None,
        )

    def _placed(self, images: Tensor) -> Tensor:
        return images.to(self.log_scale.device, memory_format=torch.channels_last)


class HeadGenerator(nn.Module):
    """The weights of CNAPs' head (heads/generated.py): class means [C, D] -> [C, D + 1]."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        inner = torch.empty(HIDDEN, num_features)
        nn.init.kaiming_uniform_(inner, nonlinearity="relu")
        # Means have length 1, so an entry is about D ** -0.5: the hidden layer is scaled up to 1.
        self.inner_weight = nn.Parameter(inner * num_features**0.5)
        self.inner_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.outer_weight = nn.Parameter(torch.zeros(num_features + 1, HIDDEN))

    def forward(self, means: Tensor) -> Tensor:
        """See `generated.generate_weights`."""
        return generate_weights(dict(self.named_parameters()), means)
