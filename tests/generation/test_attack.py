import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from generation.errors import SettingsError
from generation.guidance.attack import ThreatModel, pgd
from generation.guidance.classifier import TimeClassifier
from generation.presets import ThreatNorm
from tests.generation.conftest import PARITY

ROUNDING = 1e-4


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return load_file(PARITY / "attack16.expected.safetensors")


@pytest.mark.parametrize(
    ("norm", "epsilon", "step_size"), [("l2", 4.0, 10 / 7), ("linf", 32 / 255, 2.5 * 32 / 255 / 7)]
)
def test_the_attack_is_the_published_one(
    vanilla: TimeClassifier, published: dict[str, Tensor], norm: ThreatNorm, epsilon: float, step_size: float
) -> None:
    attacked = pgd(
        vanilla,
        published["x_t"],
        published["timesteps"],
        published["labels"],
        threat_model=ThreatModel(norm, epsilon),
        steps=7,
        step_size=step_size,
    )
    torch.testing.assert_close(attacked.x_t, published[norm], atol=ROUNDING, rtol=0)


def test_samples_that_are_wrong_at_the_start_come_back_untouched(
    vanilla: TimeClassifier, published: dict[str, Tensor]
) -> None:
    x_t, timestep, label = (published[key] for key in ("x_t", "timesteps", "labels"))
    attacked = pgd(vanilla, x_t, timestep, label, threat_model=ThreatModel("l2", 4.0), steps=7, step_size=1.0)
    assert torch.equal(attacked.x_t[-2:], x_t[-2:])
    assert bool(attacked.fooled[-2:].all())


class Linear:
    """Two classes that the first pixel's sign tells apart; counts the images it sees."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        self.seen.append(len(x))
        first = x[:, 0, 0, 0]
        return torch.stack([-first, first], dim=1)


def first_pixels(*values: float) -> Tensor:
    x = torch.zeros(len(values), 1, 2, 2)
    x[:, 0, 0, 0] = torch.tensor(values)
    return x


def attack_first_pixels(
    *values: float, norm: ThreatNorm = "l2", epsilon: float = 10.0, steps: int = 3
) -> tuple[Tensor, Tensor, list[int]]:
    classifier = Linear()
    label = torch.ones(len(values), dtype=torch.int64)
    timestep = torch.zeros_like(label)
    threat_model = ThreatModel(norm, epsilon)
    x = first_pixels(*values)
    result = pgd(classifier, x, timestep, label, threat_model=threat_model, steps=steps, step_size=1.0)
    return result.x_t[:, 0, 0, 0], result.fooled, classifier.seen


def test_each_sample_stops_where_it_is_first_seen_fooled() -> None:
    # Steps of 1 towards the other class: 0.5 crosses 0 at once and stays at -0.5, 1.5 needs two steps, 5.5 all three.
    pixels, fooled, _ = attack_first_pixels(-1.0, 0.5, 1.5, 5.5)
    assert pixels.tolist() == pytest.approx([-1.0, -0.5, -0.5, 2.5], abs=1e-4)
    assert fooled.tolist() == [True, True, True, False]


def test_only_samples_still_to_be_fooled_go_through_the_network() -> None:
    # All four are looked at before step 1; -1 is wrong already. 0.5 is seen fooled before step 2, and stops.
    _, _, seen = attack_first_pixels(-1.0, 0.5, 1.5, 5.5)
    assert seen == [4, 3, 2]


def test_nobody_left_ends_the_attack() -> None:
    _, fooled, seen = attack_first_pixels(-1.0, 0.5, steps=50)
    assert seen == [2, 1]
    assert bool(fooled.all())


def test_the_last_steps_outcome_is_not_looked_at() -> None:
    pixels, fooled, seen = attack_first_pixels(0.5, steps=1)
    assert pixels.tolist() == [-0.5]
    assert fooled.tolist() == [False]
    assert seen == [1]


def test_the_ball_holds_the_perturbation() -> None:
    pixels, _, _ = attack_first_pixels(5.0, epsilon=1.5)
    assert pixels.tolist() == [3.5]
    pixels, _, _ = attack_first_pixels(5.0, norm="linf", epsilon=0.25)
    assert pixels.tolist() == [4.75]


def test_no_pixel_is_clipped_to_the_images_range() -> None:
    classifier = Linear()
    label = torch.zeros(1, dtype=torch.int64)
    result = pgd(
        classifier, first_pixels(-1.0), label, label, threat_model=ThreatModel("l2", 9.0), steps=1, step_size=0.5
    )
    assert result.x_t[0, 0, 0, 0].item() == -0.5
    result = pgd(
        Linear(), first_pixels(1.0), label, 1 - label, threat_model=ThreatModel("linf", 9.0), steps=1, step_size=4.0
    )
    assert result.x_t[0, 0, 0, 0].item() == -3.0


@settings(deadline=None, max_examples=25)
@given(
    norm=st.sampled_from(["l2", "linf"]),
    epsilon=st.floats(0, 3),
    step_size=st.floats(0, 5),
    steps=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_the_perturbation_never_leaves_the_ball(
    vanilla: TimeClassifier, norm: ThreatNorm, epsilon: float, step_size: float, steps: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(4, 3, 16, 16, generator=generator)
    timestep = torch.randint(1000, (4,), generator=generator)
    with torch.no_grad():
        label = vanilla(x_t, timestep).argmax(1)
    threat_model = ThreatModel(norm, epsilon)
    delta = pgd(vanilla, x_t, timestep, label, threat_model=threat_model, steps=steps, step_size=step_size).x_t - x_t
    size = delta.abs().amax((1, 2, 3)) if norm == "linf" else delta.flatten(1).norm(dim=1)
    # Adding delta to x_t rounds each pixel.
    assert bool((size <= epsilon + 1e-5).all())


def test_the_attack_leaves_no_gradient_behind_even_under_no_grad(
    vanilla: TimeClassifier, published: dict[str, Tensor]
) -> None:
    vanilla.requires_grad_()
    with torch.no_grad():
        attacked = pgd(
            vanilla,
            published["x_t"],
            published["timesteps"],
            published["labels"],
            threat_model=ThreatModel("l2", 1.0),
            steps=2,
            step_size=0.5,
        )
    assert all(parameter.grad is None for parameter in vanilla.parameters())
    assert not attacked.x_t.requires_grad
    vanilla.requires_grad_(requires_grad=False)


def test_an_attack_that_cannot_be_is_refused() -> None:
    label = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(SettingsError, match="epsilon = -1"):
        ThreatModel("l2", -1)
    with pytest.raises(SettingsError, match="-2 steps"):
        pgd(Linear(), first_pixels(0.0), label, label, threat_model=ThreatModel("l2", 1), steps=-2, step_size=1)
