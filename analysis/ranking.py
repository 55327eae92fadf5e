"""Worths of two or more arms from paired comparisons with ties, by maximum likelihood.

With worths π and log worths λ, i and j compared:

- Bradley and Terry (1952): P(i) = π_i / (π_i + π_j); ties are left out.
- Davidson (1970, Journal of the American Statistical Association 65: 317-328): P(i) ∝ π_i, P(j) ∝ π_j,
  P(tie) ∝ ν·sqrt(π_i·π_j).
- Rao and Kupper (1967, Journal of the American Statistical Association 62: 194-204): P(i) = π_i / (π_i + θ·π_j),
  P(j) = π_j / (θ·π_i + π_j), the rest is ties; θ is 1 or more.

All three log-likelihoods are concave in λ, log ν and log θ, so that Newton's method finds the one maximum there is. It
exists if of any two groups of arms each has beaten the other (Ford, 1957).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit

from analysis.absent import Absent
from analysis.crossed import Array

ASSUMES = (
    "Answers are independent of each other; those of one rater and on one pair are not quite.",
    "So the standard errors are likely too small.",
    "One worth per arm explains all its comparisons.",
)  # fmt: skip


@dataclass(frozen=True)
class Contest:
    """Two arms' answers: places in the list of arms, and how many chose the first, the second, or neither."""

    first: int
    second: int
    first_wins: float
    second_wins: float
    ties: float = 0.0


@dataclass(frozen=True)
class Worths:
    """A fitted model of worths.

    Attributes:
        model: Its name.
        arms: K names.
        worths: (K,) adding up to 1.
        log_worths: (K,) with that of the reference arm 0.
        covariance: (K, K) of `log_worths`; zero for the reference arm.
        reference: The reference arm's place.
        ties: ν of Davidson's model, θ of Rao and Kupper's; None where ties are left out, or there is none.
        ties_error: Standard error of log ν or log θ.
        log_likelihood: Without binomial coefficients.
        deviance: Twice the log-likelihood that a model of its own for every two arms has more.
        freedom: Degrees of freedom of the deviance.
        assumes: What the numbers take for granted, in sentences.
    """

    model: str
    arms: tuple[str, ...]
    worths: Array
    log_worths: Array
    covariance: Array
    reference: int
    ties: float | None
    ties_error: float | None
    log_likelihood: float
    deviance: float
    freedom: int
    assumes: tuple[str, ...] = ASSUMES

    @property
    def standard_errors(self) -> Array:
        """(K,) of `log_worths`."""
        errors: Array = np.sqrt(np.diag(self.covariance))
        return errors


_Parts = Callable[[Array, "_Counts"], tuple[float, Array, Array]]


@dataclass(frozen=True)
class _Counts:
    """Contests as arrays: the design of λ_first - λ_second without the reference arm, and the three counts."""

    design: Array
    wins: Array
    losses: Array
    ties: Array


def bradley_terry(arms: Sequence[str], contests: Sequence[Contest], *, reference: int = 0) -> Worths | Absent:
    """Fit Bradley and Terry's model to the answers that chose a side."""
    return _fit("Bradley–Terry", _bradley_terry, arms, contests, reference, with_ties=False)


def davidson(arms: Sequence[str], contests: Sequence[Contest], *, reference: int = 0) -> Worths | Absent:
    """Fit Davidson's model; with two arms the worths' ratio is wins / losses, and ν = ties / sqrt(wins · losses)."""
    return _fit("Davidson", _davidson, arms, contests, reference, with_ties=True)


def rao_kupper(arms: Sequence[str], contests: Sequence[Contest], *, reference: int = 0) -> Worths | Absent:
    """Fit Rao and Kupper's model."""
    return _fit("Rao–Kupper", _rao_kupper, arms, contests, reference, with_ties=True)


def _fit(
    model: str, parts: _Parts, arms: Sequence[str], contests: Sequence[Contest], reference: int, *, with_ties: bool
) -> Worths | Absent:
    reason = _reason(arms, contests)
    if reason:
        return Absent(reason)
    counts = _counts(len(arms), contests, reference)
    ties = with_ties and bool(counts.ties.sum())
    start = np.zeros(len(arms) - 1 + ties)
    if ties and parts is _rao_kupper:
        start[-1] = 0.5
    found = _newton(parts, start, counts)
    if found is None:
        return Absent(f"the {model} model has no finite estimate here")
    place, value, information = found
    covariance = np.zeros((len(arms), len(arms)))
    others = [arm for arm in range(len(arms)) if arm != reference]
    inverse = np.linalg.inv(information)
    covariance[np.ix_(others, others)] = inverse[: len(others), : len(others)]
    log_worths = np.insert(place[: len(others)], reference, 0.0)
    worths = np.exp(log_worths - log_worths.max())
    outcomes = 2 if with_ties and ties else 1
    return Worths(
        model=model,
        arms=tuple(arms),
        worths=worths / worths.sum(),
        log_worths=log_worths,
        covariance=covariance,
        reference=reference,
        ties=float(np.exp(place[-1])) if ties else None,
        ties_error=float(np.sqrt(inverse[-1, -1])) if ties else None,
        log_likelihood=value,
        deviance=2 * (_saturated(counts, with_ties=with_ties) - value),
        freedom=outcomes * len(counts.wins) - len(place),
    )


def _reason(arms: Sequence[str], contests: Sequence[Contest]) -> str:
    """Return why there is no finite maximum, or nothing."""
    winners = [(c.first, c.second) for c in contests if c.first_wins] + [
        (c.second, c.first) for c in contests if c.second_wins
    ]
    if not winners:
        return "no answer chose a side"
    rows, columns = np.transpose(winners)
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(arms), len(arms)))
    count, labels = connected_components(graph, directed=True, connection="strong")
    if count == 1:
        return ""
    group = [arm for arm, label in zip(arms, labels, strict=True) if label == labels[0]]
    return (
        f"{', '.join(group)} and the other arms have not each been chosen over the other at least once, so that their "
        "worths have no finite ratio"
    )


def _counts(arms: int, contests: Sequence[Contest], reference: int) -> _Counts:
    design = np.zeros((len(contests), arms))
    for row, contest in enumerate(contests):
        design[row, contest.first], design[row, contest.second] = 1, -1
    wins, losses, ties = (
        np.array([getattr(contest, name) for contest in contests], dtype=float)
        for name in ("first_wins", "second_wins", "ties")
    )
    return _Counts(np.delete(design, reference, axis=1), wins, losses, ties)


def _newton(parts: _Parts, start: Array, counts: _Counts) -> tuple[Array, float, Array] | None:
    """Return the maximum's place, its value and the information there; None if it runs off."""
    place, (value, gradient, information) = start, parts(start, counts)
    for _ in range(200):
        step = np.linalg.solve(information, gradient)
        if float(gradient @ step) < 1e-18 * (1 + abs(value)):
            return place, value, information
        size = 1.0
        while True:
            there = parts(place + size * step, counts)
            if there[0] >= value - 1e-12 * (1 + abs(value)) or size < 1e-9:
                break
            size /= 2
        place, (value, gradient, information) = place + size * step, there
        if np.abs(place).max() > 50:
            return None
    return place, value, information


def _bradley_terry(place: Array, counts: _Counts) -> tuple[float, Array, Array]:
    difference = counts.design @ place
    chance, total = expit(difference), counts.wins + counts.losses
    value = float(counts.wins @ log_expit(difference) + counts.losses @ log_expit(-difference))
    gradient = counts.design.T @ (counts.wins - total * chance)
    information = (counts.design.T * (total * chance * (1 - chance))) @ counts.design
    return value, gradient, information


def _davidson(place: Array, counts: _Counts) -> tuple[float, Array, Array]:
    """Three outcomes with linear scores d/2, -d/2 and log ν: a multinomial logit."""
    width = counts.design.shape[1]
    ties = len(place) > width
    difference = counts.design @ place[:width]
    log_nu = place[-1] if ties else -np.inf
    scores = np.stack([difference / 2, -difference / 2, np.full_like(difference, log_nu)], axis=1)
    top = scores.max(axis=1, keepdims=True)
    log_total = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
    chance = np.exp(scores - log_total[:, None])
    seen = np.stack([counts.wins, counts.losses, counts.ties], axis=1)
    totals = seen.sum(axis=1) if ties else counts.wins + counts.losses
    value = float(counts.wins @ scores[:, 0] + counts.losses @ scores[:, 1] - totals @ log_total)
    if ties:
        value += float(counts.ties.sum() * log_nu)
    # Columns: what d and log ν add to each outcome's score.
    effects = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 1.0]])[:, : 1 + ties]
    rest = (seen - totals[:, None] * chance)[:, : 2 + ties]
    slopes = rest @ effects[: 2 + ties]
    mean = chance @ effects
    spread = np.einsum("no,oa,ob->nab", chance, effects, effects) - mean[:, :, None] * mean[:, None, :]
    return value, *_chain(counts, slopes, totals[:, None, None] * spread)


def _rao_kupper(place: Array, counts: _Counts) -> tuple[float, Array, Array]:
    """With τ = log θ: (wins + ties)·log σ(d - τ) + (losses + ties)·log σ(-d - τ) + ties·log(e^{2τ} - 1)."""
    width = counts.design.shape[1]
    if len(place) == width:
        return _bradley_terry(place, counts)
    difference, tau = counts.design @ place[:width], place[-1]
    if tau <= 0:
        return -np.inf, np.zeros_like(place), np.eye(len(place))
    up, down = difference - tau, -difference - tau
    a, b = counts.wins + counts.ties, counts.losses + counts.ties
    grown = np.expm1(2 * tau)
    value = float(a @ log_expit(up) + b @ log_expit(down) + counts.ties.sum() * np.log(grown))
    above, below = a * expit(-up), b * expit(-down)
    slopes = np.stack([above - below, -above - below + counts.ties * 2 * (1 + 1 / grown)], axis=1)
    bent_a, bent_b = above * expit(up), below * expit(down)
    spread = np.empty((len(a), 2, 2))
    spread[:, 0, 0] = bent_a + bent_b
    spread[:, 0, 1] = spread[:, 1, 0] = bent_b - bent_a
    spread[:, 1, 1] = bent_a + bent_b + counts.ties * 4 * (1 + grown) / grown**2
    return value, *_chain(counts, slopes, spread)


def _chain(counts: _Counts, slopes: Array, spread: Array) -> tuple[Array, Array]:
    """Turn derivatives in (d, tie parameter) of each contest into those in the parameters."""
    gradient = np.append(counts.design.T @ slopes[:, 0], slopes[:, 1:].sum(axis=0))
    top = (counts.design.T * spread[:, 0, 0]) @ counts.design
    if slopes.shape[1] == 1:
        return gradient, top
    side = counts.design.T @ spread[:, 0, 1]
    return gradient, np.block([[top, side[:, None]], [side[None, :], spread[:, 1, 1].sum()[None, None]]])


def _saturated(counts: _Counts, *, with_ties: bool) -> float:
    kinds = [counts.wins, counts.losses, *([counts.ties] if with_ties else [])]
    total = np.sum(kinds, axis=0)
    return float(sum((kind * np.log(np.divide(kind, total, out=np.ones_like(kind), where=kind > 0))).sum()
                     for kind in kinds))  # fmt: skip


def rank_probabilities(worths: Worths, rng: np.random.Generator, *, draws: int = 4000) -> NDArray[np.float64]:
    """Return (K, K) how probable each rank, from the best, is for each arm, by drawing from the estimates' normal."""
    drawn = rng.multivariate_normal(worths.log_worths, worths.covariance, draws, method="eigh")
    places = (-drawn).argsort(axis=1).argsort(axis=1)
    return np.stack([(places == rank).mean(axis=0) for rank in range(len(worths.arms))], axis=1)
