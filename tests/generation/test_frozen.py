"""Networks arranged for sampling: the functions that they were made of, whichever layers a preset has."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.diffusion.frozen import fold_doubling, freeze
from generation.diffusion.layers import repeat_pixels
from generation.diffusion.normalisation import normalise
from generation.diffusion.unet import build_unet
from generation.guidance.classifier import build_classifier
from generation.guidance.score import class_gradient
from generation.presets import Preset, load_preset, preset_from_dict
from tests.generation.conftest import named_weights

# Sums are taken in another order.
ROUNDING = 1e-5
LAYERS: list[dict[str, Any]] = [
    {},
    {"resblock_updown": False},
    {"scale_shift_norm": False},
    {"heads": None, "head_channels": 16, "res_blocks": 2, "channel_mult": [1, 3]},
    {"class_conditional": False, "learn_sigma": False},
]


def inputs(size: int = 16, channels: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(3, channels, size, size, generator=generator)
    return x_t, torch.tensor([0, 500, 999]), torch.tensor([0, 1, 2])


def assert_rounds_to(found: Tensor, expected: Tensor) -> None:
    found, expected = found.detach(), expected.detach()
    torch.testing.assert_close(found, expected, atol=ROUNDING * float(expected.abs().max()), rtol=0)


def changed(preset: Preset, section: str, **keys: object) -> Preset:
    table = preset.as_dict()
    table[section] |= keys
    table[section] = {key: value for key, value in table[section].items() if value is not None}
    return preset_from_dict(table)


@pytest.mark.parametrize("keys", LAYERS, ids=str)
def test_a_frozen_unet_predicts_what_the_unet_predicts(adm16: Preset, keys: dict[str, Any]) -> None:
    preset = changed(adm16, "diffusion", **keys)
    network = build_unet(preset).eval()
    network.load_state_dict(named_weights(network, "diffusion."))
    x_t, timestep, label = inputs()
    told = label if preset.diffusion.class_conditional else None
    with torch.no_grad():
        expected, found = network(x_t, timestep, told), freeze(network)(x_t, timestep, told)
    assert_rounds_to(found, expected)


@pytest.mark.parametrize("keys", [{}, {"resblock_updown": False}, {"scale_shift_norm": False}, {"depth": 2}], ids=str)
def test_a_frozen_classifier_has_the_classifiers_logits_and_gradient(adm16: Preset, keys: dict[str, Any]) -> None:
    network = build_classifier(changed(adm16, "classifier", **keys)).eval()
    network.load_state_dict(named_weights(network, "robust."))
    frozen, (x_t, timestep, label) = freeze(network), inputs()
    expected = network(x_t, timestep)
    assert_rounds_to(frozen(x_t, timestep), expected)
    gradient = class_gradient(network, x_t, timestep, label)
    found = class_gradient(frozen, x_t, timestep, label)
    assert_rounds_to(found, gradient)


@pytest.mark.parametrize("name", ["fashion32", "cifar10"])
def test_the_shipped_presets_networks_can_be_frozen(name: str) -> None:
    preset = load_preset(name)
    network = build_unet(preset).eval()
    network.load_state_dict(named_weights(network, "diffusion."))
    x_t, timestep, label = (each[:1] for each in inputs(32, preset.image.channels))
    with torch.no_grad():
        expected, found = network(x_t, timestep, label), freeze(network)(x_t, timestep, label)
    assert_rounds_to(found, expected)


def test_freezing_leaves_the_network_as_it_is(adm16: Preset) -> None:
    network = build_unet(adm16)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    freeze(network, torch.bfloat16)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(
        torch.equal(after[name], tensor) and after[name].dtype == tensor.dtype for name, tensor in before.items()
    )
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_bfloat16_is_as_close_as_its_eight_bits_allow(adm16: Preset) -> None:
    network = build_unet(adm16).eval()
    network.load_state_dict(named_weights(network, "diffusion."))
    x_t, timestep, label = inputs()
    with torch.no_grad():
        expected = network(x_t, timestep, label)
        found = freeze(network, torch.bfloat16)(x_t, timestep, label)
        with torch.autocast("cpu", torch.bfloat16):
            usual = network(x_t, timestep, label)
    assert found.dtype == torch.float32
    error, usual_error = ((each - expected).square().mean().sqrt() for each in (found, usual))
    assert 0 < error < 1.5 * usual_error


def test_autocast_around_a_frozen_network_changes_nothing(adm16: Preset) -> None:
    network, (x_t, timestep, label) = freeze(build_unet(adm16)), inputs()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        inside = network(x_t, timestep, label)
    with torch.no_grad():
        assert torch.equal(inside, network(x_t, timestep, label))


def test_a_label_that_is_missing_or_not_wanted_is_refused_as_the_unet_refuses_it(adm16: Preset) -> None:
    x_t, timestep, label = inputs()
    with pytest.raises(ValueError, match="needs a label"):
        freeze(build_unet(adm16))(x_t, timestep)
    with pytest.raises(ValueError, match="takes no label"):
        freeze(build_unet(changed(adm16, "diffusion", class_conditional=False)))(x_t, timestep, label)


def test_doubling_folded_into_a_convolution_is_doubling_then_convolving() -> None:
    generator = torch.Generator().manual_seed(1)
    convolution = nn.Conv2d(2, 5, 3, padding=1).double()
    x = torch.randn(2, 2, 3, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(fold_doubling(convolution)(x), convolution(repeat_pixels(x)))


def test_folded_taps_of_a_kernel_by_hand() -> None:
    """Taps 1, 2, 3 on a doubled row a a b b give, for its inner two pixels, (1+2)a + 3b and 1a + (2+3)b."""
    convolution = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    convolution.weight = nn.Parameter(torch.tensor([[[[0, 0, 0], [1, 2, 3], [0, 0, 0]]]], dtype=torch.float32))
    row = fold_doubling(convolution)(torch.tensor([[[[10.0, 100.0]]]]))[0, 0, 0]
    assert row.tolist() == [2 * 10 + 3 * 10, 3 * 10 + 3 * 100, 1 * 10 + 5 * 100, 1 * 100 + 2 * 100]


@pytest.mark.parametrize("activated", [False, True])
@pytest.mark.parametrize(("channels", "groups"), [(4, 4), (6, 2), (32, 32), (96, 32)])
def test_normalising_and_its_gradient_are_torchs(channels: int, groups: int, activated: bool) -> None:  # noqa: FBT001
    generator = torch.Generator().manual_seed(2)
    x = 5 + torch.randn(2, channels, 4, 6, generator=generator)
    gain, bias = torch.randn(2, 2, channels, generator=generator)
    back = torch.randn(x.shape, generator=generator)

    def by_torch(x: Tensor) -> Tensor:
        y = torch.addcmul(bias[..., None, None], F.group_norm(x, groups, eps=1e-5), gain[..., None, None])
        return F.silu(y) if activated else y

    def by_us(x: Tensor) -> Tensor:
        return normalise(x, gain, bias, groups, 1e-5, activated=activated)

    results = []
    for function in (by_torch, by_us):
        leaf = x.clone().requires_grad_()
        value = function(leaf)
        results.append((value.detach(), torch.autograd.grad(value, leaf, back)[0]))
    # A mean of 5 deviations: the square of 26 that the variance of 1 is left of has 26 times its rounding.
    torch.testing.assert_close(results[1][0], results[0][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(results[1][1], results[0][1], atol=5e-5, rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(by_us(x), results[1][0])


def test_a_mean_of_a_hundred_deviations_costs_less_than_in_torchs_kernel_for_the_layout() -> None:
    x = 100 + torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(3))
    x = x.to(memory_format=torch.channels_last)
    exact = F.group_norm(x.double(), 2, eps=1e-5).float()
    lost = (normalise(x, torch.ones(1, 4), torch.zeros(1, 4), 2, 1e-5) - exact).abs().max()
    assert lost < 0.01
    assert lost < (F.group_norm(x, 2, eps=1e-5) - exact).abs().max()


def test_equal_pixels_become_the_bias() -> None:
    x, bias = torch.full((1, 4, 3, 3), 0.5), torch.arange(4.0)[None]
    normal = normalise(x, torch.ones(1, 4), bias, 2, 1e-5)
    assert torch.equal(normal, bias[..., None, None].expand_as(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(torch.float32, 1e-2), (torch.float16, 3e-2), (torch.bfloat16, 2e-1)]
)
def test_frozen_networks_on_cuda_are_those_of_the_processor_within_the_precision(
    adm16: Preset, precision: torch.dtype, tolerance: float
) -> None:
    unet, classifier = build_unet(adm16).eval(), build_classifier(adm16).eval()
    unet.load_state_dict(named_weights(unet, "diffusion."))
    classifier.load_state_dict(named_weights(classifier, "robust."))
    x_t, timestep, label = inputs()
    there = [each.cuda() for each in (x_t, timestep, label)]
    with torch.no_grad():
        expected = unet(x_t, timestep, label)
    gradient = class_gradient(classifier, x_t, timestep, label)
    frozen, guide = freeze(unet.cuda(), precision), freeze(classifier.cuda(), precision)
    with torch.no_grad():
        found = frozen(*there).cpu()
    steered = class_gradient(guide, *there).cpu()
    for value, reference in ((found, expected), (steered, gradient)):
        assert float((value - reference).square().mean().sqrt()) < tolerance * float(reference.square().mean().sqrt())
