import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from generation.architecture import Architecture, NetworkKind, infer_architectures
from tests.generation.conftest import PARITY


def published(name: str) -> dict[str, Tensor]:
    shapes = json.loads((PARITY / f"{name}.tensors.json").read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


# What ../parity/README.md says of the published checkpoints.
PUBLISHED = {
    "imagenet128_diffusion": Architecture(
        network="unet",
        channels=3,
        width=256,
        channel_mult=(1, 1, 2, 3, 4),
        res_blocks=2,
        attention_downsampling=(4, 8, 16),
        scale_shift_norm=True,
        resblock_updown=True,
        classes=1000,
        learn_sigma=True,
        image_size=None,
    ),
    "imagenet128_classifier": Architecture(
        network="classifier",
        channels=3,
        width=128,
        channel_mult=(1, 1, 2, 3, 4),
        res_blocks=2,
        attention_downsampling=(4, 8, 16),
        scale_shift_norm=True,
        resblock_updown=True,
        classes=1000,
        learn_sigma=None,
        image_size=128,
    ),
    "cifar10_diffusion": Architecture(
        network="unet",
        channels=3,
        width=128,
        channel_mult=(1, 2, 2, 2),
        res_blocks=3,
        attention_downsampling=(2, 4),
        scale_shift_norm=True,
        resblock_updown=False,
        classes=10,
        learn_sigma=True,
        image_size=None,
    ),
    "cifar10_classifier": Architecture(
        network="classifier",
        channels=3,
        width=32,
        channel_mult=(1, 2, 2, 4),
        res_blocks=2,
        attention_downsampling=(2, 4),
        scale_shift_norm=True,
        resblock_updown=True,
        classes=10,
        learn_sigma=None,
        image_size=32,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_are_told_from_their_tensors(name: str) -> None:
    inference = infer_architectures(published(name))
    assert inference.architectures == (PUBLISHED[name],)
    assert not inference.departure


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    networks: list[NetworkKind] = ["unet", "classifier"]
    network = draw(st.sampled_from(networks))
    levels = draw(st.integers(1, 4))
    factors = st.sets(st.sampled_from([2**level for level in range(levels)]))
    return Architecture(
        network=network,
        channels=draw(st.integers(1, 4)),
        width=draw(st.sampled_from([32, 64])),
        channel_mult=tuple(draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))),
        res_blocks=draw(st.integers(1, 3)),
        attention_downsampling=tuple(sorted(draw(factors))),
        scale_shift_norm=draw(st.booleans()),
        resblock_updown=None if levels == 1 else draw(st.booleans()),
        classes=draw(st.integers(1, 20) if network == "classifier" else st.none() | st.integers(1, 20)),
        learn_sigma=draw(st.booleans()) if network == "unet" else None,
        image_size=2 ** (levels - 1) * draw(st.integers(1, 5)) if network == "classifier" else None,
    )


@settings(deadline=None, max_examples=20)
@given(architectures())
def test_any_architecture_is_told_from_its_tensors(architecture: Architecture) -> None:
    inference = infer_architectures(architecture.build().state_dict())
    assert architecture in inference.architectures
    assert not inference.departure
    # Only how many of a classifier's residual blocks resample may not show, and each number is of another image size.
    if architecture.network == "unet" or architecture.resblock_updown is False:
        assert len(inference.architectures) == 1
    assert len({a.image_size for a in inference.architectures}) == len(inference.architectures)


def test_a_network_that_lacks_a_tensor_is_told_with_what_it_lacks() -> None:
    layout = published("cifar10_diffusion")
    del layout["middle_block.1.norm.weight"]
    inference = infer_architectures(layout)
    assert inference.architectures == (PUBLISHED["cifar10_diffusion"],)
    assert inference.departure == "it lacks middle_block.1.norm.weight [256]"


@pytest.mark.parametrize("missing", ["input_blocks.0.0.weight", "input_blocks.1.0.in_layers.2.weight", "out.2.weight"])
def test_a_network_without_what_all_have_has_no_architecture(missing: str) -> None:
    layout = published("cifar10_diffusion")
    del layout[missing]
    assert infer_architectures(layout).architectures == ()


@pytest.mark.parametrize("shape", [(), (4,), (4, 0), (4, 33), (2**31, 2**15)])
def test_impossible_shapes_have_no_architecture(shape: tuple[int, ...]) -> None:
    layout = published("cifar10_classifier") | {"time_embed.0.weight": torch.empty(shape, device="meta")}
    assert infer_architectures(layout).architectures == ()


def test_other_networks_are_none_of_the_family() -> None:
    inference = infer_architectures({"conv1.weight": torch.empty(64, 3, 7, 7, device="meta")})
    assert inference.architectures == ()
