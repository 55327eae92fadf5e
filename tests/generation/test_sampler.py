from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from generation.diffusion.process import Process
from generation.diffusion.sampler import SamplingStep, reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.diffusion.unet import UNet, build_unet
from generation.errors import SettingsError
from generation.guidance.classifier import TimeClassifier
from generation.guidance.score import Guidance
from generation.noise import PairNoise
from generation.presets import Preset, SamplerName, preset_from_dict
from tests.generation.conftest import named_weights

# The reference calls a difference of this size in a trajectory rounding.
ROUNDING = 1e-3


@pytest.fixture(scope="module")
def process(adm16: Preset) -> Process:
    return Process(respaced(build_schedule(adm16.schedule), "10"), learn_sigma=True)


@pytest.fixture
def replayed(expected: dict[str, Tensor]) -> Callable[[], Tensor]:
    noises = iter([expected["x_T"], *expected["noises"]])
    return lambda: next(noises)


def stacked(steps: list[SamplingStep], arm: int) -> tuple[Tensor, Tensor]:
    return torch.stack([step.x[arm] for step in steps]), torch.stack([step.x_0[arm] for step in steps])


def test_three_arms_at_once_walk_the_published_trajectories(
    unet: UNet,
    vanilla: TimeClassifier,
    robust: TimeClassifier,
    process: Process,
    expected: dict[str, Tensor],
    replayed: Callable[[], Tensor],
) -> None:
    arms = {"unguided": Guidance(), "vanilla": Guidance(vanilla, 50.0), "robust": Guidance(robust, 100.0)}
    assert process.timesteps.tolist() == expected["respaced_timesteps"].tolist()
    steps = list(reverse_steps(unet, process, list(arms.values()), expected["labels"], replayed))
    for index, arm in enumerate(arms):
        samples, predictions = stacked(steps, index)
        torch.testing.assert_close(samples, expected[f"{arm}_samples"], atol=ROUNDING, rtol=0)
        torch.testing.assert_close(predictions, expected[f"{arm}_pred_xstart"], atol=ROUNDING, rtol=0)


def test_ddim_walks_the_published_trajectory(
    unet: UNet,
    vanilla: TimeClassifier,
    process: Process,
    expected: dict[str, Tensor],
    replayed: Callable[[], Tensor],
) -> None:
    guidances = [Guidance(vanilla, 50.0)]
    steps = list(reverse_steps(unet, process, guidances, expected["labels"], replayed, sampler="ddim"))
    torch.testing.assert_close(stacked(steps, 0)[0], expected["vanilla_ddim_samples"], atol=ROUNDING, rtol=0)


def run(
    unet: UNet,
    process: Process,
    guidances: list[Guidance],
    pairs: list[int],
    sampler: SamplerName = "ddpm",
    eta: float = 0,
) -> Tensor:
    labels = torch.tensor([pair % 10 for pair in pairs])
    noise = PairNoise(5, pairs, (3, 16, 16))
    steps = list(reverse_steps(unet, process, guidances, labels, noise.draw, sampler=sampler, eta=eta))
    return steps[-1].x


def test_guidance_changes_the_images(unet: UNet, vanilla: TimeClassifier, process: Process) -> None:
    arms = run(unet, process, [Guidance(), Guidance(vanilla, 50.0)], [3])
    assert not torch.allclose(arms[0], arms[1], atol=0.01)


def test_a_fixed_variance_is_beta(adm16: Preset) -> None:
    process = Process(build_schedule(adm16.schedule), learn_sigma=False)
    x_t = torch.zeros(1, 3, 16, 16)
    prediction = process.predict(x_t, x_t, torch.tensor([500]))
    beta = build_schedule(adm16.schedule).betas[500]
    assert prediction.log_variance.exp().item() == pytest.approx(beta.item(), rel=1e-5)


def test_a_learned_variance_at_its_bounds_is_beta_or_the_posteriors(adm16: Preset) -> None:
    schedule = build_schedule(adm16.schedule)
    process = Process(schedule, learn_sigma=True)
    x_t, step = torch.zeros(1, 3, 16, 16), torch.tensor([500])
    for place, variance in ((1.0, schedule.betas[500]), (-1.0, schedule.posterior_variance[500])):
        output = torch.cat([x_t, torch.full_like(x_t, place)], dim=1)
        found = process.predict(output, x_t, step).log_variance.exp()
        torch.testing.assert_close(found, torch.full_like(found, variance.item()), rtol=1e-4, atol=0)


def test_an_unconditional_unet_with_fixed_variance_samples(adm16: Preset, vanilla: TimeClassifier) -> None:
    table = adm16.as_dict()
    table["diffusion"] |= {"class_conditional": False, "learn_sigma": False}
    network = build_unet(preset_from_dict(table))
    network.load_state_dict(named_weights(network, "diffusion."))
    process = Process(respaced(build_schedule(adm16.schedule), "5"), learn_sigma=False)
    noise = PairNoise(0, [0], (3, 16, 16))
    guidances = [Guidance(), Guidance(vanilla, 50.0)]
    *_, last = reverse_steps(network, process, guidances, torch.tensor([1]), noise.draw, conditional=False)
    assert bool(last.x.isfinite().all())
    assert not torch.allclose(last.x[0], last.x[1])


def test_noising_and_its_inverse_agree(adm16: Preset) -> None:
    process = Process(build_schedule(adm16.schedule), learn_sigma=True)
    generator = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 4, 3, 16, 16, generator=generator).unbind()
    step = torch.tensor([0, 10, 500, 900])
    x_t = process.add_noise(x_0, step, noise)
    torch.testing.assert_close(process.x_0_from_noise(x_t, step, noise), x_0, atol=1e-3, rtol=0)
    torch.testing.assert_close(process.noise_from_x_0(x_t, step, x_0), noise, atol=1e-3, rtol=0)


def test_no_arm_or_an_eta_out_of_range_is_refused(unet: UNet, process: Process, vanilla: TimeClassifier) -> None:
    with pytest.raises(SettingsError, match="No arm"):
        run(unet, process, [], [0])
    with pytest.raises(SettingsError, match="eta = 2"):
        run(unet, process, [Guidance()], [0], "ddim", 2)
    with pytest.raises(SettingsError, match="scale -1"):
        Guidance(vanilla, -1)
