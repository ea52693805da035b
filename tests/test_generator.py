"""The generator of FiLM values: its formula module by module, its start, and the set encoder."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli.networks.film import SET_FEATURES, Generator, SetEncoder
from litecli.networks.generator import FilmLayer

# Every layer has another number of channels; the second has no shift.
LAYERS = (
    FilmLayer("stem", "layer", 6, True),
    FilmLayer("body", "rms", 5, False),
    FilmLayer("top", "batch", 3, True),
)
SIZES = (6, 6, 5, 3, 3)  # of the generated vectors


def by_modules(generator: Generator, norms: dict[str, Tensor], outputs: Tensor) -> dict:
    """The formula with torch's own layers, one generated vector after another."""
    task_vector, first, changes = outputs.mean(0), 0, []
    for number, size in enumerate(SIZES):
        linear = nn.Linear(SET_FEATURES, SET_FEATURES).double()
        norm = nn.LayerNorm(SET_FEATURES).double()
        last = nn.Linear(SET_FEATURES, size).double()
        rows = slice(first, first + size)
        for module, weight, bias in (
            (linear, generator.inner_weight[number], generator.inner_bias[number]),
            (norm, generator.norm_weight[number], generator.norm_bias[number]),
            (last, generator.outer_weight[rows], generator.outer_bias[rows]),
        ):
            module.load_state_dict({"weight": weight, "bias": bias})
        change = last(functional.relu(norm(linear(task_vector))))
        changes.append(generator.strength[rows] * change)
        first += size
    stem, body, top = 1 + changes[0], 1 + changes[2], 1 + changes[3]
    return {
        "stem.weight": stem * norms["stem.weight"],
        "stem.bias": stem * norms["stem.bias"] + changes[1],
        "body.weight": body * norms["body.weight"],
        "top.weight": top * norms["top.weight"],
        "top.bias": top * norms["top.bias"] + changes[4],
    }


def test_film_values_follow_the_formula_module_by_module() -> None:
    torch.manual_seed(0)
    generator = Generator(LAYERS).double()
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.5)
    norms = {}
    for layer in LAYERS:
        for kind in ("weight", "bias") if layer.bias else ("weight",):
            norms[f"{layer.name}.{kind}"] = torch.randn(layer.channels, dtype=torch.float64)
    outputs = torch.randn(4, SET_FEATURES, dtype=torch.float64)
    with torch.no_grad():
        found, expected = generator(outputs, norms), by_modules(generator, norms, outputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (value - norms[name]).abs().max() > 0.1  # the plain network would not pass
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


def test_the_start_of_a_generator() -> None:
    torch.manual_seed(0)
    generator = Generator([*LAYERS, FilmLayer("wide", "batch", 500, True)])
    shapes = {name: tuple(value.shape) for name, value in generator.named_parameters()}
    vectors, channels = len(SIZES) + 2, sum(SIZES) + 1000
    assert shapes == {
        "inner_weight": (vectors, SET_FEATURES, SET_FEATURES),
        "inner_bias": (vectors, SET_FEATURES),
        "norm_weight": (vectors, SET_FEATURES),
        "norm_bias": (vectors, SET_FEATURES),
        "outer_weight": (channels, SET_FEATURES),
        "outer_bias": (channels,),
        "strength": (channels,),
    }
    # What nn.Linear draws, for 64 inputs: uniform in -1/8..1/8.
    inner = generator.inner_weight.detach()
    assert -0.125 <= float(inner.min()) < -0.124 and 0.124 < float(inner.max()) <= 0.125
    assert float(inner.mean()) == pytest.approx(0, abs=2e-3)
    # Small, so that the first steps stay near the plain network, and not zero: they learn.
    strength = generator.strength.detach()
    assert float(strength.std()) == pytest.approx(1e-3, rel=0.1)
    assert float(strength.mean()) == pytest.approx(0, abs=1e-4)


def test_a_gradient_reaches_the_generator_from_its_first_step() -> None:
    generator = Generator(LAYERS)
    norms = {
        f"{name}.{kind}": torch.ones(n)
        for name, n in (("stem", 6), ("body", 5), ("top", 3))
        for kind in ("weight", "bias")
    }
    values = generator(torch.randn(4, SET_FEATURES), norms)
    torch.cat([value.flatten() for value in values.values()]).square().sum().backward()
    for last in (generator.outer_weight, generator.outer_bias):
        assert last.grad is not None and (last.grad.reshape(sum(SIZES), -1) != 0).any(1).all()


@pytest.mark.parametrize(
    ("side", "grids"),
    [
        (84, [42, 21, 11, 6, 3]),  # as it is
        (168, [42, 21, 11, 6, 3]),  # at half the size
        (255, [43, 22, 11, 6, 3]),  # a third of it
        (167, [84, 42, 21, 11, 6]),  # not yet halved
    ],
)
def test_five_poolings_of_an_image_of_about_84_pixels(side: int, grids: list[int]) -> None:
    encoder, seen = SetEncoder(), []
    for module in encoder.modules():
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(lambda _m, _i, output: seen.append(output.shape[2:]))
    with torch.no_grad():
        encoder(torch.randn(1, 3, side, side))
    assert seen == [(grid, grid) for grid in grids]


def test_the_set_encoder_is_the_mean_of_its_last_grid() -> None:
    """Layer by layer; a model file holds these fifteen tensors and no others."""
    torch.manual_seed(0)
    encoder = SetEncoder()
    weights = encoder.state_dict()
    for value in weights.values():
        nn.init.normal_(value, std=0.2)
    assert len(weights) == 15
    images = torch.randn(2, 3, 40, 40)
    values, remaining = images, iter(weights.values())
    for convolution, scale, shift in zip(remaining, remaining, remaining, strict=True):
        values = functional.conv2d(values, convolution, padding="same")
        groups = values.reshape(2, 8, -1)
        centred = groups - groups.mean(2, keepdim=True)
        spread = groups.var(2, correction=0, keepdim=True).add(1e-5).sqrt()
        values = (centred / spread).reshape(values.shape)
        values = (values * scale[:, None, None] + shift[:, None, None]).clamp(min=0)
        values = functional.max_pool2d(values, 2, ceil_mode=True)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), values.flatten(2).mean(2))
