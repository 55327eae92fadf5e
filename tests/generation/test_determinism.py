"""A pair's noise and images, whatever company it is made in: for every sampler, and on every device there is."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from generation.diffusion.process import Process
from generation.diffusion.sampler import reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.diffusion.unet import UNet
from generation.guidance.classifier import TimeClassifier
from generation.guidance.score import Guidance
from generation.noise import PairNoise
from generation.presets import Preset, SamplerName

# The reference calls a difference of this size in a trajectory rounding.
ROUNDING = 1e-3
SAMPLERS: list[tuple[SamplerName, float]] = [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.7), ("dpmpp2m", 0.0)]
PAIRS = [0, 1, 2, 7]

Sample = Callable[[list[Guidance], list[int]], tuple[Tensor, Tensor]]


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
        ),
    ]
)
def device(
    request: pytest.FixtureRequest, unet: UNet, vanilla: TimeClassifier, robust: TimeClassifier
) -> Iterator[str]:
    for network in (unet, vanilla, robust):
        network.to(request.param)
    yield request.param
    for network in (unet, vanilla, robust):
        network.to("cpu")


@pytest.fixture(params=SAMPLERS, ids=lambda sampler: f"{sampler[0]}-{sampler[1]}")
def sample(request: pytest.FixtureRequest, adm16: Preset, unet: UNet, device: str) -> Sample:
    """Return a sampler of pairs: the arms' images (A, N, C, H, W), and the noise that it drew (N, draws, C, H, W)."""
    sampler, eta = request.param
    process = Process(respaced(build_schedule(adm16.schedule), "4"), learn_sigma=True, device=device)

    def run(guidances: list[Guidance], pairs: list[int]) -> tuple[Tensor, Tensor]:
        noise, drawn = PairNoise(5, pairs, (3, 16, 16)), []

        def draw() -> Tensor:
            drawn.append(noise.draw())
            return drawn[-1]

        label = torch.tensor([pair % 10 for pair in pairs], device=device)
        *_, last = reverse_steps(unet, process, guidances, label, draw, sampler=sampler, eta=eta)
        return last.x.cpu(), torch.stack(drawn, dim=1)

    return run


@pytest.fixture
def arms(vanilla: TimeClassifier, robust: TimeClassifier) -> list[Guidance]:
    return [Guidance(vanilla, 5.0), Guidance(robust, 5.0)]


def test_a_pairs_noise_is_the_same_in_any_batch_and_order_and_its_images_are_within_rounding(
    sample: Sample, arms: list[Guidance]
) -> None:
    together, drawn = sample(arms, PAIRS)
    for company in ([0], [7, 2], [2, 1, 5]):
        images, noise = sample(arms, company)
        for place, pair in enumerate(company):
            if pair in PAIRS:
                assert torch.equal(noise[place], drawn[PAIRS.index(pair)])
                torch.testing.assert_close(images[:, place], together[:, PAIRS.index(pair)], atol=ROUNDING, rtol=0)


def test_the_same_batch_again_is_the_same_to_the_bit(sample: Sample, arms: list[Guidance], device: str) -> None:
    if device == "cuda":
        pytest.skip("CUDA's convolutions may add in another order each time")
    assert torch.equal(sample(arms, PAIRS)[0], sample(arms, PAIRS)[0])


def test_arms_at_scale_0_are_the_unguided_arm_to_the_bit(
    sample: Sample, vanilla: TimeClassifier, robust: TimeClassifier
) -> None:
    guidances = [Guidance(), Guidance(vanilla, 0.0), Guidance(robust, 2.0), Guidance(robust, 0.0)]
    images, _ = sample(guidances, [3, 4, 5])
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[3])
    assert not torch.equal(images[0], images[2])


def test_arms_of_one_classifier_and_scale_are_the_same_to_the_bit(sample: Sample, vanilla: TimeClassifier) -> None:
    images, _ = sample([Guidance(vanilla, 7.0), Guidance(), Guidance(vanilla, 7.0), Guidance(vanilla, 6.0)], [3, 4, 5])
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[3])


def test_another_arm_beside_it_does_not_change_an_arm(sample: Sample, arms: list[Guidance]) -> None:
    both, noise = sample(arms, [3, 4])
    alone, same = sample(arms[1:], [3, 4])
    assert torch.equal(noise, same)
    torch.testing.assert_close(both[1], alone[0], atol=ROUNDING, rtol=0)


def test_ddpm_draws_at_every_step_and_a_deterministic_sampler_once(
    sample: Sample, arms: list[Guidance], request: pytest.FixtureRequest
) -> None:
    sampler, eta = request.node.callspec.params["sample"]
    _, noise = sample(arms, [0])
    assert noise.shape[1] == (5 if sampler == "ddpm" or eta else 1)
