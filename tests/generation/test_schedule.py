import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generation.diffusion.schedule import build_schedule, kept_timesteps, linear_betas, respaced
from generation.errors import SettingsError
from generation.presets import Schedule
from tests.generation.conftest import PARITY

PUBLISHED = json.loads((PARITY / "respacing.json").read_text())


@pytest.mark.parametrize("call", sorted(PUBLISHED))
def test_respacing_keeps_the_published_timesteps(call: str) -> None:
    # The keys read: space_timesteps(1000, "250")
    assert kept_timesteps(1000, call.split('"')[1]) == PUBLISHED[call]


def test_the_linear_schedule_runs_from_1e_4_to_0_02() -> None:
    betas = linear_betas(1000)
    assert betas.dtype == torch.float64
    assert betas[0].item() == pytest.approx(1e-4)
    assert betas[-1].item() == pytest.approx(0.02)
    assert (betas[1] - betas[0]).item() == pytest.approx((0.02 - 1e-4) / 999)


def test_a_short_schedule_adds_more_noise_a_step() -> None:
    assert linear_betas(100)[0].item() == pytest.approx(1e-3)
    with pytest.raises(SettingsError, match="too few"):
        linear_betas(20)


def test_a_respaced_schedule_keeps_each_steps_noise_level() -> None:
    schedule = build_schedule(Schedule())
    kept = respaced(schedule, "10")
    torch.testing.assert_close(kept.alpha_bar, schedule.alpha_bar[kept.timesteps], rtol=0, atol=0)
    torch.testing.assert_close(torch.cumprod(1 - kept.betas, 0), kept.alpha_bar)


def test_sections_divide_the_schedule_equally_and_the_first_take_the_rest() -> None:
    # 10 timesteps in sections of 4, 3 and 3: ends of the first, the start of the second, all of the third.
    assert kept_timesteps(10, "2,1,3") == [0, 3, 4, 7, 8, 9]


@given(st.integers(1, 200))
def test_evenly_spaced_steps_rise_within_range_and_keep_both_ends(count: int) -> None:
    kept = kept_timesteps(200, str(count))
    assert len(kept) == count
    assert sorted(set(kept)) == kept
    assert kept[0] == 0
    assert kept[-1] == (199 if count > 1 else 0)


@pytest.mark.parametrize("text", ["", "0", "-5", "1001", "ddim", "ddim600", "ddim0", "10;20", "2.5", "10,,5", "٣"])
def test_a_respacing_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        kept_timesteps(1000, text)
