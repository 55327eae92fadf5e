"""A logistic model with random effects of one or two crossed groupings, fitted by the Laplace approximation.

y_k of m_k trials succeed with logit probability X_k β + θ_1 u_1 + θ_2 u_2, the u independent standard normal, one per
group. With û the mode of log f(y, u), h its value there and H the negative second derivative,

    log-likelihood ≈ h - ½ log det H,

(the Laplace approximation, as lme4's glmer has it with nAGQ = 1: Bates, Mächler, Bolker and Walker, 2015, Journal of
Statistical Software 67). H is diagonal within each grouping, so that one grouping is eliminated by division, and what
is dense has the other's size. The likelihood is even and smooth in each θ: a Newton iteration finds θ = 0 without a
bound.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.special import expit, gammaln, log_expit, logit

from analysis.absent import Absent
from analysis.crossed import Array
from analysis.sides import Codes

MOST_DENSE = 4000
# From so many answers on, a part of them says where to start.
MANY, PART = 30_000, 10_000
# Of many answers: so near the top, in log-likelihood still to gain, one Hessian serves for the steps that remain.
CLOSE = 20.0
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
        log_likelihood: With the binomial coefficients.
    """

    coefficients: Array
    covariance: Array
    deviations: Array
    effects: tuple[Array, ...]
    effect_errors: tuple[Array, ...]
    log_likelihood: float

    @property
    def standard_errors(self) -> Array:
        """(K,) of β."""
        errors: Array = np.sqrt(np.diag(self.covariance))
        return errors


def fit_mixed_logit(
    successes: Array, trials: Array, design: Array, groups: Sequence[Codes], *, tolerance: float = 1e-7
) -> MixedFit | Absent:
    """Fit the model of the module by maximum likelihood.

    Args:
        successes: (N,) from 0 to `trials`.
        trials: (N,) 1 or more.
        design: (N, K), with a column of ones for an intercept.
        groups: One or two arrays of (N,) codes from 0.
        tolerance: The step that promises less log-likelihood than this is the last; of many answers, 1e-4 at least.

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
    model = _Laplace(successes, trials, design, groups, sizes)
    many = len(successes) > MANY
    tolerance, close = (max(tolerance, 1e-4), CLOSE) if many else (tolerance, 0.0)
    best, hessian = _maximise(model, _start(successes, trials, design, groups), tolerance, close)
    return _fit(model, best, hessian)


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


class _Laplace:
    """The Laplace log-likelihood of one data set; keeps the last mode and factor to start the next from."""

    def __init__(self, y: Array, m: Array, design: Array, groups: Sequence[Codes], sizes: list[int]) -> None:
        # The larger grouping is eliminated; the smaller one stays dense.
        self.order = sorted(range(len(groups)), key=lambda place: -sizes[place])
        self.y, self.m, self.design = y.astype(float), m.astype(float), design
        self.codes = [groups[place] for place in self.order]
        self.sizes = [sizes[place] for place in self.order]
        self.width = design.shape[1]
        self.constant = float((gammaln(self.m + 1) - gammaln(self.y + 1) - gammaln(self.m - self.y + 1)).sum())
        self.modes = [np.zeros(size) for size in self.sizes]
        self.factor: _Factor | None = None

    def split(self, parameters: Array) -> tuple[Array, Array]:
        """Return β, and |θ| in the order of elimination."""
        theta = np.abs(parameters[self.width :])
        return parameters[: self.width], theta[self.order]

    def __call__(self, parameters: Array) -> float:
        """Return the log-likelihood."""
        beta, theta = self.split(parameters)
        value = self.find_modes(beta, theta)
        factor = self.factor = _Factor(self, theta, self.weights(beta, theta))
        return value - 0.5 * factor.log_determinant + self.constant

    def linear(self, beta: Array, theta: Array, modes: Sequence[Array]) -> Array:
        eta: Array = self.design @ beta
        for scale, codes, mode in zip(theta, self.codes, modes, strict=True):
            eta = eta + (scale * mode)[codes]
        return eta

    def weights(self, beta: Array, theta: Array) -> Array:
        chance = expit(self.linear(beta, theta, self.modes))
        weights: Array = self.m * chance * (1 - chance)
        return weights

    def objective(self, eta: Array, modes: Sequence[Array]) -> float:
        likely = self.y @ eta + self.m @ log_expit(-eta)
        return float(likely) - 0.5 * sum(float(mode @ mode) for mode in modes)

    def find_modes(self, beta: Array, theta: Array) -> float:
        """Move the modes to the maximum of h by Newton's method and return h.

        The factor of an earlier call serves as long as it brings the gradient down quickly.
        """
        eta = self.linear(beta, theta, self.modes)
        value, before = self.objective(eta, self.modes), np.inf
        fresh = False
        for _ in range(200):
            rest = self.y - self.m * expit(eta)
            slopes = [
                scale * np.bincount(codes, rest, size) - mode
                for scale, codes, size, mode in zip(theta, self.codes, self.sizes, self.modes, strict=True)
            ]
            steep = max(float(np.abs(slope).max()) for slope in slopes)
            if steep < 1e-9:
                return value
            if self.factor is None or (steep > 0.5 * before and not fresh):
                self.factor, fresh = _Factor(self, theta, self.weights(beta, theta)), True
            else:
                fresh = False
            before = steep
            steps = self.factor.solve(slopes)
            value_before, size = value, 1.0
            while True:
                modes = [mode + size * step for mode, step in zip(self.modes, steps, strict=True)]
                eta = self.linear(beta, theta, modes)
                value = self.objective(eta, modes)
                if value >= value_before - 1e-9 * (1 + abs(value_before)):
                    break
                size /= 2
            self.modes = modes
        return value


class _Factor:
    """H at given weights, factored: the first grouping's block is diagonal and eliminated from the second's."""

    def __init__(self, model: _Laplace, theta: Array, weights: Array) -> None:
        self.diagonal = 1 + theta[0] ** 2 * np.bincount(model.codes[0], weights, model.sizes[0])
        self.log_determinant = float(np.log(self.diagonal).sum())
        self.dense: Any = None
        if len(theta) == 1:
            return
        self.cross = sparse.csr_array(
            (theta[0] * theta[1] * weights, (model.codes[0], model.codes[1])), shape=(model.sizes[0], model.sizes[1])
        )
        block = -_gram(self.cross, 1 / np.sqrt(self.diagonal))
        diagonal = 1 + theta[1] ** 2 * np.bincount(model.codes[1], weights, model.sizes[1])
        block[np.diag_indices_from(block)] += diagonal
        self.dense = linalg.cho_factor(block, lower=True, overwrite_a=True, check_finite=False)
        self.log_determinant += 2 * float(np.log(np.diag(self.dense[0])).sum())

    def solve(self, right: Sequence[Array]) -> list[Array]:
        """Return H⁻¹ times a vector given by groupings."""
        first = right[0] / self.diagonal
        if self.dense is None:
            return [first]
        second = linalg.cho_solve(self.dense, right[1] - self.cross.T @ first, check_finite=False)
        return [first - (self.cross @ second) / self.diagonal, second]

    def variances(self) -> list[Array]:
        """Return the diagonal of H⁻¹ by groupings."""
        if self.dense is None:
            return [1 / self.diagonal]
        size = len(self.dense[0])
        inverse = linalg.cho_solve(self.dense, np.eye(size), check_finite=False)
        added = np.empty(len(self.diagonal))
        for start in range(0, len(added), 2000):
            rows = self.cross[start : start + 2000]
            added[start : start + 2000] = np.asarray(rows.multiply(rows @ inverse).sum(axis=1)).ravel()
        return [1 / self.diagonal + added / self.diagonal**2, np.diag(inverse).copy()]


def _gram(matrix: "sparse.csr_array[Any]", scale: Array) -> Array:
    """Return the lower triangle of M'M dense, M being the matrix with its rows scaled, the way that is quicker."""
    rows, columns = matrix.shape
    scaled = sparse.csr_array((matrix.data * np.repeat(scale, np.diff(matrix.indptr)), matrix.indices, matrix.indptr),
                              shape=matrix.shape)  # fmt: skip
    # A sparse multiplication costs as much as some two hundred dense ones.
    if 200 * float((np.diff(matrix.indptr).astype(float) ** 2).sum()) < float(rows) * columns**2:
        return _sparse_gram(scaled)
    total = np.zeros((columns, columns), order="F")
    for start in range(0, rows, step := max(1, 4_000_000 // columns)):
        dense = scaled[start : start + step].toarray()
        total = linalg.blas.dsyrk(1.0, dense.T, beta=1.0, c=total, overwrite_c=True, lower=True)
    return total


def _sparse_gram(matrix: "sparse.csr_array[Any]") -> Array:
    """Return M'M dense, a large one by two threads, which scipy's products leave free to run together."""
    parts = 2 if matrix.nnz > MANY else 1
    edges = [matrix.shape[0] * place // parts for place in range(parts + 1)]

    def product(place: int) -> Array:
        rows = matrix[edges[place] : edges[place + 1]]
        found: Array = (rows.T @ rows).toarray()
        return found

    with ThreadPoolExecutor(parts) as pool:
        total, *rest = pool.map(product, range(parts))
    for part in rest:
        total += part
    return total


def _maximise(model: _Laplace, start: Array, tolerance: float, close: float) -> tuple[Array, Array]:
    """Maximise by Newton's method with differences; return the place and the Hessian there.

    The function is smooth, and close to a parabola over a few standard errors. So central differences over a fortieth
    of one lose nothing that matters. Once a step has promised less than `close`, its Hessian serves for the next ones.
    """
    place, value = start, model(start)
    steps = np.full(len(start), 0.05)
    hessian: Array | None = None
    promised = np.inf
    for _ in range(50):
        if hessian is None or promised > close:
            gradient, hessian = _differences(model, place, value, steps)
            hessian = _negative_definite(hessian)
            steps = np.clip(np.sqrt(np.diag(np.linalg.inv(-hessian))) / 40, 1e-4, 0.05)
        else:
            gradient = _gradient(model, place, steps)
        move = -np.linalg.solve(hessian, gradient)
        move *= min(1.0, 2.0 / np.abs(move).max(initial=1e-300))
        promised = 0.5 * float(gradient @ move)
        if promised < tolerance:
            return place + move, hessian
        size = 1.0
        while (there := model(place + size * move)) < value and size > 1e-4:
            size /= 2
        if there < value:
            break
        place, value = place + size * move, there
    return place, _negative_definite(_differences(model, place, value, steps)[1])


def _gradient(model: _Laplace, place: Array, steps: Array) -> Array:
    """Return the gradient by central differences."""
    moves = np.diag(steps)
    return np.array([(model(place + move) - model(place - move)) / (2 * step)
                     for move, step in zip(moves, steps, strict=True)])  # fmt: skip


def _differences(model: _Laplace, place: Array, value: float, steps: Array) -> tuple[Array, Array]:
    """Return gradient and Hessian by central differences."""
    size = len(place)
    gradient, hessian = np.empty(size), np.empty((size, size))
    moves = np.diag(steps)
    up, down = np.empty(size), np.empty(size)
    for i in range(size):
        up[i], down[i] = model(place + moves[i]), model(place - moves[i])
        gradient[i] = (up[i] - down[i]) / (2 * steps[i])
        hessian[i, i] = (up[i] - 2 * value + down[i]) / steps[i] ** 2
    for i in range(size):
        for j in range(i):
            both = model(place + moves[i] + moves[j])
            hessian[i, j] = hessian[j, i] = (
                (both - up[i] - up[j] + value) / (steps[i] * steps[j])
            )  # fmt: skip
    return gradient, hessian


def _negative_definite(hessian: Array) -> Array:
    """Return the matrix with eigenvalues of the wrong sign turned, so that Newton's step goes uphill."""
    values, vectors = np.linalg.eigh(hessian)
    turned: Array = -(vectors * np.maximum(np.abs(values), 1e-3 * np.abs(values).max(initial=1e-12))) @ vectors.T
    return turned


def _fit(model: _Laplace, best: Array, hessian: Array) -> MixedFit:
    value = model(best)
    beta, theta = model.split(best)
    assert model.factor is not None  # noqa: S101 - calling the model has just made it
    effects: list[Array] = [np.empty(0)] * len(theta)
    errors: list[Array] = [np.empty(0)] * len(theta)
    for place, scale, mode, variance in zip(model.order, theta, model.modes, model.factor.variances(), strict=True):
        effects[place], errors[place] = scale * mode, scale * np.sqrt(variance)
    covariance = np.linalg.inv(-hessian)[: model.width, : model.width]
    return MixedFit(beta, covariance, np.abs(best[model.width :]), tuple(effects), tuple(errors), value)
