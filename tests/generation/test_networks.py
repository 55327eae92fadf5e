import json

import pytest
import torch
from torch import Tensor, nn

from generation.diffusion.layers import average_pixels, timestep_embedding
from generation.diffusion.unet import UNet, build_unet
from generation.guidance.classifier import TimeClassifier, build_classifier
from generation.guidance.score import class_gradient
from generation.presets import Preset, load_preset, preset_from_dict
from tests.generation.conftest import PARITY

ROUNDING = 1e-4


@pytest.mark.parametrize("preset", ["imagenet128", "cifar10"])
@pytest.mark.parametrize("kind", ["diffusion", "classifier"])
def test_tensors_have_the_published_names_and_shapes_in_order(preset: str, kind: str) -> None:
    build = build_unet if kind == "diffusion" else build_classifier
    with torch.device("meta"):
        network: nn.Module = build(load_preset(preset))
    found = [(name, list(tensor.shape)) for name, tensor in network.state_dict().items()]
    assert found == list(json.loads((PARITY / f"{preset}_{kind}.tensors.json").read_text()).items())


def test_fashion32_networks_are_small() -> None:
    preset = load_preset("fashion32")
    sizes = [sum(p.numel() for p in build(preset).parameters()) for build in (build_unet, build_classifier)]
    assert sizes[0] <= 1_500_000
    assert sizes[1] <= 600_000


def test_the_unet_predicts_what_the_published_one_does(unet: UNet, expected: dict[str, Tensor]) -> None:
    with torch.no_grad():
        output = unet(expected["x"], expected["timesteps"], expected["labels"])
    torch.testing.assert_close(output, expected["unet_out"], atol=ROUNDING, rtol=0)


def test_classifiers_say_what_the_published_ones_do(
    vanilla: TimeClassifier, robust: TimeClassifier, expected: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        for classifier, name in ((vanilla, "vanilla_logits"), (robust, "robust_logits")):
            logits = classifier(expected["x"], expected["timesteps"])
            torch.testing.assert_close(logits, expected[name], atol=ROUNDING, rtol=0)


def test_the_guidance_gradient_is_the_published_one(vanilla: TimeClassifier, expected: dict[str, Tensor]) -> None:
    gradient = class_gradient(vanilla, expected["x"], expected["timesteps"], expected["labels"])
    torch.testing.assert_close(gradient, expected["vanilla_grad"], atol=ROUNDING, rtol=0)


def test_the_guidance_gradient_leaves_the_parameters_alone(
    vanilla: TimeClassifier, expected: dict[str, Tensor]
) -> None:
    vanilla.requires_grad_()
    with torch.no_grad():
        class_gradient(vanilla, expected["x"], expected["timesteps"], expected["labels"])
    assert all(parameter.grad is None for parameter in vanilla.parameters())
    vanilla.requires_grad_(requires_grad=False)


def test_a_label_is_needed_where_the_network_is_conditional(unet: UNet, expected: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="needs a label"):
        unet(expected["x"], expected["timesteps"])


def test_an_unconditional_network_takes_no_label(adm16: Preset, expected: dict[str, Tensor]) -> None:
    table = adm16.as_dict()
    table["diffusion"] |= {"class_conditional": False, "learn_sigma": False}
    network = build_unet(preset_from_dict(table))
    assert network(expected["x"], expected["timesteps"]).shape == (3, 3, 16, 16)
    with pytest.raises(ValueError, match="takes no label"):
        network(expected["x"], expected["timesteps"], expected["labels"])


def test_timestep_0_embeds_as_ones_and_zeros() -> None:
    embedding = timestep_embedding(torch.tensor([0, 1]), 4)
    # cos 0 = 1 and sin 0 = 0; at t = 1 the frequencies are 1 and 10000^(-1/2) = 0.01.
    assert embedding[0].tolist() == [1, 1, 0, 0]
    angles = torch.tensor([1.0, 0.01])
    torch.testing.assert_close(embedding[1], torch.cat([angles.cos(), angles.sin()]))


@pytest.mark.parametrize("side", [8, 7])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_halving_averages_blocks_of_four_pixels(side: int, memory_format: torch.memory_format) -> None:
    x = torch.arange(2.0 * 3 * side * side).reshape(2, 3, side, side)
    halved = average_pixels(x.contiguous(memory_format=memory_format))
    # Values rise by 1 along a row and by `side` along a column, so a block's mean is its first pixel and half of each.
    half = side // 2
    assert torch.equal(halved, x[..., : 2 * half : 2, : 2 * half : 2] + (1 + side) / 2)
