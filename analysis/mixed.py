"""A logistic model with random effects of one or two crossed groupings, fitted by the Laplace approximation.

y_k of m_k trials succeed with logit probability X_k β + θ_1 u_1 + θ_2 u_2, the u independent standard normal, one per
group. `analysis.laplace` has the log-likelihood and its gradient: the Laplace approximation, as lme4's glmer has it
with nAGQ = 1 (Bates, Mächler, Bolker and Walker, 2015, Journal of Statistical Software 67). The likelihood is even and
smooth in each θ: a Newton iteration finds θ = 0 without a bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from analysis.absent import Absent
from analysis.crossed import Array
from analysis.laplace import MANY, Laplace, Point
from analysis.sides import Codes

MOST_DENSE = 4000
# From MANY answers on, a part of them says where to start.
PART = 10_000
# Of many answers: so near the top, in log-likelihood still to gain, one Hessian and secants serve for the next steps,
CLOSE = 1000.0
# and once they have gained more than this, a quarter of a standard error, the covariance takes a new one.
FAR = 0.03
# The step of the Hessian's differences.
STEP = 1e-4
ASSUMES = (
    "Each rater shifts the odds of all their answers, and each pair those of all answers on it.",
    "These shifts are normal, with the same spread for all raters and for all pairs, and independent.",
    "Given rater and pair, answers are independent.",
    "The effect is for an average rater and an average pair: further from 0 than the logit of the share.",
    "The likelihood is the Laplace approximation.",
)


@dataclass(frozen=True)
class MixedFit:
    """The fit.

    Attributes:
        coefficients: (K,) β.
        covariance: (K, K) of β, from the curvature of the log-likelihood in β and θ together.
        deviations: (G,) |θ|, the random effects' standard deviations on the logit scale, per grouping.
        effects: Per grouping, (groups,) the modes θ·û.
        effect_errors: Per grouping, (groups,) their standard deviations given β and θ.
        follows: Per grouping, (groups, K) how they move with β.
        log_likelihood: With the binomial coefficients.
    """

    coefficients: Array
    covariance: Array
    deviations: Array
    effects: tuple[Array, ...]
    effect_errors: tuple[Array, ...]
    follows: tuple[Array, ...]
    log_likelihood: float

    @property
    def standard_errors(self) -> Array:
        """(K,) of β."""
        errors: Array = np.sqrt(np.diag(self.covariance))
        return errors


def fit_mixed_logit(
    successes: Array, trials: Array, design: Array, groups: Sequence[Codes], *, tolerance: float = 1e-10
) -> MixedFit | Absent:
    """Fit the model of the module by maximum likelihood.

    Args:
        successes: (N,) from 0 to `trials`.
        trials: (N,) 1 or more.
        design: (N, K), with a column of ones for an intercept.
        groups: One or two arrays of (N,) codes from 0.
        tolerance: A step that promises less log-likelihood than this is not made; of many answers, 1e-4 at least.

    Raises:
        ValueError: If lengths differ or there are not one or two groupings.
    """
    if not 1 <= len(groups) <= 2 or any(len(codes) != len(successes) for codes in (trials, design, *groups)):
        message = f"{len(successes)} answers need as many trials, rows of the design and codes in one or two groupings"
        raise ValueError(message)
    sizes = [int(codes.max(initial=-1)) + 1 for codes in groups]
    if not sizes[0]:
        return Absent("there is no answer to fit a model to")
    if len(sizes) == 2 and min(sizes) > MOST_DENSE:
        return Absent(f"with more than {MOST_DENSE:,} raters and as many pairs the model is too large to fit here")
    if not 0 < successes.sum() < trials.sum():
        return Absent("all answers are alike, so that the odds have no finite estimate")
    many = len(successes) > MANY
    tolerance, close, steep = (max(tolerance, 1e-4), CLOSE, 1e-7) if many else (tolerance, 0.0, 1e-9)
    model = Laplace(successes, trials, design, groups, steep=steep)
    return _fit(model, *_maximise(model, _start(successes, trials, design, groups), tolerance, close))


def _start(successes: Array, trials: Array, design: Array, groups: Sequence[Codes]) -> Array:
    """Return where to start from: for many answers, the fit of those of some of the larger grouping's groups."""
    width = design.shape[1]
    start = np.zeros(width + len(groups))
    if np.all(design[:, 0] == 1):
        start[0] = logit(successes.sum() / trials.sum())
    start[width:] = 0.5
    if len(successes) <= MANY:
        return start
    largest = max(groups, key=lambda codes: int(codes.max()))
    part = largest % -(-len(successes) // PART) == 0
    fit = fit_mixed_logit(
        successes[part],
        trials[part],
        design[part],
        [np.unique(codes[part], return_inverse=True)[1] for codes in groups],
    )
    return start if isinstance(fit, Absent) else np.concatenate([fit.coefficients, fit.deviations])


def _maximise(model: Laplace, start: Array, tolerance: float, close: float) -> tuple[Array, Point, Array]:
    """Maximise by Newton's method; return the place, the likelihood there, and its Hessian.

    The Hessian is by differences of the gradient. Once a step has promised less than `close`, secants (BFGS) mend it.
    """
    place, point = start, model.at(start)
    hessian: Array | None = None
    promised, gained = np.inf, 0.0
    for _ in range(50):
        if hessian is None or promised > close:
            hessian, gained = _hessian(model, place, point), 0.0
        move = -np.linalg.solve(hessian, point.gradient)
        move *= min(1.0, 2.0 / np.abs(move).max(initial=1e-300))
        promised = 0.5 * float(point.gradient @ move)
        if promised < tolerance:
            break
        there = model.at(place + move)
        while there.value < point.value and np.abs(move).max() > 1e-8:
            move = move / 2
            there = model.at(place + move)
        if there.value < point.value:
            break
        hessian = _secant(hessian, move, there.gradient - point.gradient)
        gained += there.value - point.value
        place, point = place + move, there
    if hessian is None or gained > FAR * (close > 0):
        hessian = _hessian(model, place, point)
    return place, point, hessian


def _hessian(model: Laplace, place: Array, point: Point) -> Array:
    """Return the Hessian by differences of the gradient, negative definite."""
    columns = [(model.at(place + move).gradient - point.gradient) / STEP for move in np.eye(len(place)) * STEP]
    return _negative_definite((np.array(columns) + np.array(columns).T) / 2)


def _secant(hessian: Array, move: Array, change: Array) -> Array:
    """Return the Hessian after a step that changed the gradient so (BFGS: Nocedal and Wright, 2006, Eq. 6.19)."""
    curved = float(move @ change)
    if curved >= 0:
        return hessian
    along = hessian @ move
    mended: Array = hessian - np.outer(along, along) / float(move @ along) + np.outer(change, change) / curved
    return mended


def _negative_definite(hessian: Array) -> Array:
    """Return the matrix with eigenvalues of the wrong sign turned, so that Newton's step goes uphill."""
    values, vectors = np.linalg.eigh(hessian)
    turned: Array = -(vectors * np.maximum(np.abs(values), 1e-3 * np.abs(values).max(initial=1e-12))) @ vectors.T
    return turned


def _fit(model: Laplace, best: Array, point: Point, hessian: Array) -> MixedFit:
    width = model.width
    deviations: Array = np.abs(best[width:])
    return MixedFit(
        coefficients=best[:width],
        covariance=np.linalg.inv(-hessian)[:width, :width],
        deviations=deviations,
        effects=tuple(scale * mode for scale, mode in zip(deviations, point.modes, strict=True)),
        effect_errors=tuple(scale * np.sqrt(some) for scale, some in zip(deviations, point.variances, strict=True)),
        follows=tuple(scale * some for scale, some in zip(deviations, point.follows, strict=True)),
        log_likelihood=point.value,
    )
