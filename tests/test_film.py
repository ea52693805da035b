"""FiLM on every kind of network: found by norm type, the identity at first, right when random."""

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from litecli.config import Preprocess
from litecli.errors import ExitCode, LiteError
from litecli.networks import film, generator
from litecli.networks.backbone import Backbone
from litecli.networks.model import FewShotModel

# timm's name, image size, kinds of norm layers, and how many.
NETWORKS = [
    ("efficientnet_b0", 64, "batch", 49),
    ("resnet18", 64, "batch", 20),
    ("mobilenetv3_small_100", 64, "batch", 34),
    ("mobilenetv4_conv_small", 64, "batch", 46),
    ("convnext_atto", 64, "layer", 17),
    ("vit_tiny_patch16_224", 224, "layer", 25),
    ("resnetv2_50x1_bit", 64, "group", 49),
]


def model_of(network: nn.Module, head: str = "cosine", size: int = 8) -> FewShotModel:
    """A FiLM model of any network with `num_features`."""
    width = int(network.num_features)  # type: ignore[arg-type]
    preprocess = Preprocess(image_size=size)
    described = Backbone(network, "tiny", {}, width, preprocess, "unknown", "")
    return FewShotModel(described, head, film=True)


def randomise(model: FewShotModel) -> None:
    """Generators that do something: their last layers start at zero."""
    torch.manual_seed(1)
    for module in (model.generator, model.head_generator):
        for parameter in module.parameters() if module is not None else ():
            nn.init.normal_(parameter, std=0.3)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda row: row[0])
def case(request: pytest.FixtureRequest) -> tuple[FewShotModel, Tensor, str, int]:
    name, size, kind, count = request.param
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    for module in network.modules():  # scales of one and shifts of zero would hide a mix-up
        if film.norm_kind(module):
            for name, (low, high) in {"weight": (0.5, 1.5), "bias": (-0.5, 0.5)}.items():
                nn.init.uniform_(module.get_parameter(name), low, high)
    return model_of(network, size=size), torch.randn(3, 3, size, size), kind, count


def test_every_norm_layer_is_found(case: tuple[FewShotModel, Tensor, str, int]) -> None:
    model, _, kind, count = case
    layers = film.film_layers(model.network)
    assert len(layers) == count and {layer.kind for layer in layers} == {kind}
    assert film.coverage(model.network).startswith(f"FiLM on {count} of {count} norm layers")


def test_film_starts_as_the_plain_network(case: tuple[FewShotModel, Tensor, str, int]) -> None:
    model, images, _, _ = case
    with torch.no_grad():
        values = model.generate(model.embed(images))
        assert torch.equal(model.features(images, film=values), model.features(images))


def test_random_film_is_gamma_y_plus_beta(case: tuple[FewShotModel, Tensor, str, int]) -> None:
    """Against hooks on the norm layers: the identity alone would pass with FiLM switched off."""
    model, images, _, _ = case
    generated = torch.Generator().manual_seed(2)
    values, hooks = {}, []
    for layer in film.film_layers(model.network):
        gamma = 1 + 0.1 * torch.randn(layer.channels, generator=generated)
        beta = 0.1 * torch.randn(layer.channels, generator=generated)
        module = model.network.get_submodule(layer.name)
        values[f"{layer.name}.weight"] = gamma * module.get_parameter("weight").detach()
        values[f"{layer.name}.bias"] = gamma * module.get_parameter("bias").detach() + beta
        hooks.append((module, gamma, beta))
    with torch.no_grad():
        found = model.features(images, film=values)
        plain = model.features(images)
        undo = [modulate(*hook) for hook in hooks]
        expected = model.features(images)
        for restore in undo:
            restore()
    assert (plain - expected).abs().max() > 0.01 * expected.abs().max()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def modulate(module: nn.Module, gamma: Tensor, beta: Tensor):
    """Apply gamma * y + beta to a norm layer's output, before the activation that timm adds."""
    act = getattr(module, "act", nn.Identity())
    if hasattr(module, "act"):
        module.act = nn.Identity()

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        channels_first = not isinstance(module, nn.LayerNorm) or output.ndim == 4
        shape = (1, -1, *[1] * (output.ndim - 2)) if channels_first else (-1,)
        return act(gamma.view(shape) * output + beta.view(shape))

    handle = module.register_forward_hook(hook)

    def restore() -> None:
        handle.remove()
        if hasattr(module, "act"):
            module.act = act

    return restore


class RmsNorm(nn.Module):
    """As timm's own: no base class in common with torch's, and no shift."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((6,), 0.7))
        self.bias = None

    def forward(self, rows: Tensor) -> Tensor:
        return rows * (rows.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


def small_network(*norms: nn.Module) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(192, 6)]
    for norm in norms:
        layers += [norm, nn.Tanh(), nn.Linear(6, 6)]
    network = nn.Sequential(*layers)
    network.num_features = 6  # type: ignore[assignment]
    return network


def test_rms_norms_have_a_scale_alone() -> None:
    network = small_network(RmsNorm(), nn.RMSNorm(6))
    layers = film.film_layers(network)
    assert [(layer.kind, layer.bias) for layer in layers] == [("rms", False), ("rms", False)]
    model = model_of(network)
    randomise(model)
    values = model.generate(torch.randn(4, film.SET_FEATURES))
    assert set(values) == {"2.weight", "5.weight"}
    assert not torch.allclose(values["2.weight"], torch.full((6,), 0.7))


def test_a_network_without_affine_norms_is_refused() -> None:
    network = small_network(nn.LayerNorm(6, elementwise_affine=False))
    with pytest.raises(LiteError, match="no norm layers with weights") as caught:
        model_of(network)
    error = caught.value
    assert error.code == ExitCode.USAGE
    assert error.why == (
        "FiLM gives the batch, layer, group or rms norms of a network new scales and shifts."
    )
    assert error.fix == "another --backbone, or --film off --learner protonets"
    assert film.coverage(small_network(nn.BatchNorm1d(6), nn.LayerNorm(6, bias=False))) == (
        "FiLM on 2 of 2 norm layers (batch, layer), 12 channels"
    )
    half = small_network(nn.LayerNorm(6), nn.LayerNorm(6, elementwise_affine=False))
    assert film.coverage(half).startswith("FiLM on 1 of 2 norm layers")


@pytest.mark.parametrize("side", [8, 31, 84, 100, 192])
def test_the_set_encoder_looks_at_one_image_at_a_time(side: int) -> None:
    torch.manual_seed(0)
    encoder = film.SetEncoder().train()  # in either mode
    images = torch.randn(5, 3, side, side)
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(image[None]) for image in images])
    assert together.shape == (5, film.SET_FEATURES) and together.std(0).median() > 1e-3
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_task_vector_is_a_mean_whatever_the_order() -> None:
    model = model_of(small_network(nn.LayerNorm(6)))
    randomise(model)
    outputs = torch.randn(7, film.SET_FEATURES)
    values = model.generate(outputs)
    turned = model.generate(outputs.flip(0))
    doubled = model.generate(torch.cat([outputs, outputs]))
    for name, value in values.items():
        torch.testing.assert_close(turned[name], value)
        torch.testing.assert_close(doubled[name], value)
    other = model.generate(outputs + 1)
    assert not torch.allclose(other["2.weight"], values["2.weight"])


def test_numpy_generates_what_torch_does() -> None:
    network = small_network(nn.LayerNorm(6), RmsNorm(), nn.BatchNorm1d(6))
    model = model_of(network)
    randomise(model)
    assert model.generator is not None
    outputs = torch.randn(5, film.SET_FEATURES)
    expected = model.generate(outputs)
    parameters = {name: p.detach().numpy() for name, p in model.generator.named_parameters()}
    layers = film.film_layers(network)
    parameters["vector_of_channel"] = generator.vector_of_channel(layers)
    norms = {name: p.detach().numpy() for name, p in network.named_parameters()}
    found = generator.film_values(layers, parameters, norms, outputs.numpy())
    assert set(found) == set(expected) and len(found) == 5
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_each_layer_gets_its_own_vector() -> None:
    """One channel's row changes that channel's value and no other."""
    network = small_network(nn.LayerNorm(6), RmsNorm())
    model = model_of(network)
    randomise(model)
    assert model.generator is not None
    outputs = torch.randn(3, film.SET_FEATURES)
    before = model.generate(outputs)
    with torch.no_grad():  # channels: 6 scales and 6 shifts of the first layer, 6 scales more
        model.generator.outer_bias[13] += 1.0
    after = model.generate(outputs)
    changed = {name: (after[name] != before[name]).nonzero().flatten().tolist() for name in before}
    assert changed == {"2.weight": [], "2.bias": [], "5.weight": [1]}


def test_the_penalty_is_on_the_strengths() -> None:
    model = model_of(small_network(nn.LayerNorm(6)))
    assert model.generator is not None
    expected = 1e-3 * float(model.generator.strength.detach().square().sum())
    assert float(model.generator.penalty().detach()) == pytest.approx(expected) and expected > 0
