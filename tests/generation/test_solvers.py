"""The solvers against an independent library's, and against exact solutions that Gaussian data have."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from generation.diffusion.process import Process
from generation.diffusion.sampler import SamplingStep, reverse_steps
from generation.diffusion.schedule import NoiseSchedule, build_schedule, respaced
from generation.diffusion.solvers import half_log_snr
from generation.errors import SettingsError
from generation.guidance.score import Guidance, class_gradient
from generation.presets import SamplerName, Schedule

SCHEDULE = build_schedule(Schedule())
SHAPE = (2, 1, 4, 4)
SPACINGS = ["250", "25", "20", "ddim25", "10,15,20", "3", "1,1"]
Model = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def normal(seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(SHAPE, generator=generator)


def fake_noise(x_t: Tensor, timestep: Tensor, label: Tensor | None = None) -> Tensor:
    """What data around 0.1 with deviation 0.2 would have a network say, bent: its x_0 stays within [-1, 1]."""
    alpha_bar = SCHEDULE.alpha_bar[timestep].float()[:, None, None, None]
    x_0 = 0.1 + 0.5 * torch.tanh(0.3 * (x_t - alpha_bar.sqrt() * 0.1) / (alpha_bar * 0.04 + 1 - alpha_bar).sqrt())
    return (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()


def wild_noise(x_t: Tensor, timestep: Tensor, label: Tensor | None = None) -> Tensor:
    """A prediction whose x_0 leaves [-1, 1], so that clipping shows."""
    return fake_noise(x_t, timestep) + 0.4 * torch.sin(5 * x_t)


def with_variance(x_t: Tensor, timestep: Tensor, label: Tensor | None = None) -> Tensor:
    return torch.cat([wild_noise(x_t, timestep), torch.cos(3 * x_t)], dim=1)


def walk(
    model: Model,
    schedule: NoiseSchedule,
    noise: Iterator[Tensor],
    sampler: SamplerName,
    *,
    eta: float = 0.0,
    learn_sigma: bool = False,
    guidance: Guidance | None = None,
) -> list[SamplingStep]:
    process = Process(schedule, learn_sigma=learn_sigma)
    guidances = [guidance or Guidance()]
    label = torch.arange(SHAPE[0])
    return list(reverse_steps(model, process, guidances, label, lambda: next(noise), sampler=sampler, eta=eta))


def timesteps_of(spacing: str) -> list[int]:
    return [int(t) for t in respaced(SCHEDULE, spacing).timesteps.flip(0)]


def independent(
    scheduler: Any, predict: Callable[[Tensor, Tensor], Tensor], timesteps: list[int], x: Tensor, **options: Any
) -> Iterator[Tensor]:
    """Walk the library's way and yield x after each step."""
    for t in timesteps:
        x = scheduler.step(predict(x, torch.full((len(x),), t)), t, x, **options).prev_sample
        yield x


def assert_same_walk(ours: list[SamplingStep], theirs: Iterator[Tensor], tolerance: float = 2e-5) -> None:
    for step, x in zip(ours, theirs, strict=True):
        torch.testing.assert_close(step.x[0], x, atol=tolerance, rtol=tolerance)


# Of an array that the library makes of a tensor.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def scheduler_of(kind: Any, timesteps: list[int] | int, **options: Any) -> Any:
    """A scheduler of the library's on our spacing, with alpha_bar in float64: in its float32, 1 - 0.9999 is a guess."""
    scheduler = kind(**LINEAR, **options)
    scheduler.alphas_cumprod = SCHEDULE.alpha_bar
    if isinstance(timesteps, int):
        scheduler.set_timesteps(timesteps)
    else:
        scheduler.set_timesteps(timesteps=timesteps)
    return scheduler


def linear_classifier(x_t: Tensor, timestep: Tensor) -> Tensor:
    weight = torch.randn(16, 3, generator=torch.Generator().manual_seed(9))
    return x_t.flatten(1) @ weight / (1 + 0.001 * timestep[:, None])


GUIDANCE = Guidance(linear_classifier, 0.5)


def guided_noise(x_t: Tensor, timestep: Tensor) -> Tensor:
    """noise' = noise - sqrt(1 - alpha_bar) scale gradient, Algorithm 2 of Dhariwal & Nichol (2021)."""
    alpha_bar = SCHEDULE.alpha_bar[timestep].float()[:, None, None, None]
    gradient = class_gradient(linear_classifier, x_t, timestep, torch.arange(SHAPE[0]))
    return fake_noise(x_t, timestep) - (1 - alpha_bar).sqrt() * 0.5 * gradient


@pytest.mark.parametrize("spacing", SPACINGS)
def test_dpmpp2m_takes_the_steps_of_an_independent_scheduler(spacing: str) -> None:
    scheduler = scheduler_of(DPMSolverMultistepScheduler, timesteps_of(spacing), final_sigmas_type="zero")
    ours = walk(fake_noise, respaced(SCHEDULE, spacing), normal(1), "dpmpp2m")
    assert_same_walk(ours, independent(scheduler, fake_noise, timesteps_of(spacing), next(normal(1))))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_dpmpp2m_is_guided_through_the_noise(spacing: str) -> None:
    scheduler = scheduler_of(DPMSolverMultistepScheduler, timesteps_of(spacing), final_sigmas_type="zero")
    ours = walk(fake_noise, respaced(SCHEDULE, spacing), normal(1), "dpmpp2m", guidance=GUIDANCE)
    assert_same_walk(ours, independent(scheduler, guided_noise, timesteps_of(spacing), next(normal(1))), 1e-4)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_ddim_takes_the_steps_of_an_independent_first_order_scheduler(spacing: str) -> None:
    # DDIM with eta 0 is the first-order case of DPM-Solver++, which takes any spacing.
    options = {"final_sigmas_type": "zero", "solver_order": 1}
    scheduler = scheduler_of(DPMSolverMultistepScheduler, timesteps_of(spacing), **options)
    ours = walk(fake_noise, respaced(SCHEDULE, spacing), normal(1), "ddim", guidance=GUIDANCE)
    assert_same_walk(ours, independent(scheduler, guided_noise, timesteps_of(spacing), next(normal(1))), 1e-4)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_with_eta_takes_the_steps_of_an_independent_scheduler(eta: float) -> None:
    scheduler = scheduler_of(DDIMScheduler, 25, clip_sample=True)
    assert scheduler.timesteps.tolist() == timesteps_of("ddim25")
    ours = walk(wild_noise, respaced(SCHEDULE, "ddim25"), normal(1), "ddim", eta=eta)
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(SHAPE, generator=generator)
    options = {"eta": eta, "use_clipped_model_output": True, "generator": generator}
    assert_same_walk(ours, independent(scheduler, wild_noise, timesteps_of("ddim25"), start, **options))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("variance", ["learned_range", "fixed_large"])
def test_ddpm_takes_the_steps_of_an_independent_scheduler(spacing: str, variance: str) -> None:
    scheduler = scheduler_of(DDPMScheduler, timesteps_of(spacing), variance_type=variance, clip_sample=True)
    learned = variance == "learned_range"
    model = with_variance if learned else wild_noise
    ours = walk(model, respaced(SCHEDULE, spacing), normal(1), "ddpm", learn_sigma=learned)
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(SHAPE, generator=generator)
    assert_same_walk(ours, independent(scheduler, model, timesteps_of(spacing), start, generator=generator))


@pytest.mark.parametrize("spacing", ["25", "10,15,20"])
def test_ddim_with_eta_1_is_ancestral_sampling_with_the_posteriors_variance(spacing: str) -> None:
    scheduler = scheduler_of(DDPMScheduler, timesteps_of(spacing), variance_type="fixed_small", clip_sample=True)
    ours = walk(wild_noise, respaced(SCHEDULE, spacing), normal(1), "ddim", eta=1.0)
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(SHAPE, generator=generator)
    assert_same_walk(ours, independent(scheduler, wild_noise, timesteps_of(spacing), start, generator=generator))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp2m"])
def test_a_single_step_gives_the_prediction_of_x_0(sampler: SamplerName) -> None:
    (step,) = walk(fake_noise, respaced(SCHEDULE, "1"), normal(1), sampler)
    torch.testing.assert_close(step.x, step.x_0)


MEAN, DEVIATION = 0.05, 0.15


def in_half_log_snr(points: list[float]) -> NoiseSchedule:
    """A schedule of noise levels chosen by their half-log-SNR, least noisy first."""
    lambdas = torch.tensor(sorted(points, reverse=True), dtype=torch.float64)
    return NoiseSchedule(torch.sigmoid(2 * lambdas), torch.arange(len(points)))


def gaussian_noise(schedule: NoiseSchedule) -> Model:
    """The exact predictor for x_0 ~ N(MEAN, DEVIATION^2): E[noise | x_t]."""

    def predict(x_t: Tensor, timestep: Tensor, label: Tensor | None) -> Tensor:
        alpha_bar = schedule.alpha_bar[timestep][:, None, None, None]
        variance = alpha_bar * DEVIATION**2 + 1 - alpha_bar
        return (1 - alpha_bar).sqrt() * (x_t.double() - alpha_bar.sqrt() * MEAN) / variance

    return predict


def error_at_the_least_noisy_level(points: list[float], sampler: SamplerName) -> float:
    """How far the walk is from the exact solution, which keeps (x_t - its mean) / its deviation as it was."""
    schedule = in_half_log_snr(points)

    def level(alpha_bar: Tensor) -> tuple[float, float]:
        return math.sqrt(alpha_bar) * MEAN, math.sqrt(alpha_bar * DEVIATION**2 + 1 - alpha_bar)

    steps = walk(gaussian_noise(schedule), schedule, normal(3), sampler)
    (m_1, s_1), (m_0, s_0) = level(schedule.alpha_bar[-1]), level(schedule.alpha_bar[0])
    exact = m_0 + s_0 * (next(normal(3)) - m_1) / s_1
    return float((steps[-2].x[0] - exact).abs().max())


def spaced(steps: int, bend: float = 0.0) -> list[float]:
    """Half-log-SNRs from -2 to 2.5; with a bend they crowd towards one end."""
    return [-2 + 4.5 * ((1 - bend) * i / steps + bend * (i / steps) ** 2) for i in range(steps + 1)]


@given(st.floats(0, 0.6))
@settings(max_examples=10, deadline=None)
def test_halving_the_steps_quarters_dpmpp2ms_error_at_least_and_halves_ddims(bend: float) -> None:
    def order(sampler: SamplerName) -> float:
        coarse, fine = (error_at_the_least_noisy_level(spaced(steps, bend), sampler) for steps in (20, 40))
        return math.log2(coarse / fine)

    assert order("dpmpp2m") > 1.85
    assert order("ddim") == pytest.approx(1, abs=0.15)


def test_in_20_steps_dpmpp2m_is_nearer_to_the_exact_solution_than_ddim_in_40() -> None:
    assert error_at_the_least_noisy_level(spaced(20), "dpmpp2m") < error_at_the_least_noisy_level(spaced(40), "ddim")


@given(st.floats(1e-4, 0.9999))
def test_half_log_snr_is_that_of_signal_and_noise(alpha_bar: float) -> None:
    assert half_log_snr(alpha_bar) == pytest.approx(math.log(math.sqrt(alpha_bar) / math.sqrt(1 - alpha_bar)), abs=1e-9)


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp2m"])
def test_an_eta_is_for_ddim_alone(sampler: SamplerName) -> None:
    with pytest.raises(SettingsError, match=f"eta = 0.5 is for the sampler ddim: leave it out with {sampler}"):
        walk(fake_noise, respaced(SCHEDULE, "3"), normal(1), sampler, eta=0.5)
