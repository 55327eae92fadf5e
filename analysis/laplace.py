"""The Laplace log-likelihood of a logistic model with one or two crossed random effects, and its gradient.

y_k of m_k trials succeed with logit probability η_k = X_k β + a_k u, u independent standard normal, one per group; the
row a_k of A has θ_1 at answer k's group of the first grouping and θ_2 at that of the second. With û the mode of
log f(y, u), h its value there, and H = I + AᵀWA with W the weights m p (1 - p),

    log-likelihood ≈ h - ½ log det H.

H is diagonal within each grouping: the larger grouping is eliminated by division, and what is dense, the Schur
complement, has the size of the smaller. The gradient is exact. With v_k = a_k H⁻¹ a_kᵀ, w'_k = W_k (1 - 2 p_k) and dη
the whole change of η, the mode's own included,

    d log det H = Σ v_k w'_k dη_k + 2 Σ W_k a_k H⁻¹ da_kᵀ,

which needs H⁻¹ at the cells that have an answer and nowhere else, and one solution with H for what the mode does.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.special import expit, gammaln, log_expit

from analysis.crossed import Array
from analysis.sides import Codes

# From so many cells on, a product is worth a second thread.
MANY = 30_000
# Steps with the sparse pattern cost as much as so many dense ones.
DENSE_STEPS = 100


@dataclass(frozen=True)
class Point:
    """The likelihood at one place.

    Attributes:
        value: The log-likelihood, with the binomial coefficients.
        gradient: (K + G,) by β and θ.
        modes: Per grouping, (groups,) û.
        variances: Per grouping, (groups,) the diagonal of H⁻¹.
        follows: Per grouping, (groups, K) how û moves with β.
    """

    value: float
    gradient: Array
    modes: tuple[Array, ...]
    variances: tuple[Array, ...]
    follows: tuple[Array, ...]


class Laplace:
    """The log-likelihood of one data set; keeps the last mode and factor to start the next from.

    Args:
        successes: (N,) from 0 to `trials`.
        trials: (N,) 1 or more.
        design: (N, K).
        groups: One or two arrays of (N,) codes from 0.
        steep: The slope by each u at which the mode is taken as found.
    """

    def __init__(
        self, successes: Array, trials: Array, design: Array, groups: Sequence[Codes], *, steep: float = 1e-9
    ) -> None:
        sizes = [int(codes.max()) + 1 for codes in groups]
        # The larger grouping is eliminated; the smaller one stays dense.
        self.order = sorted(range(len(groups)), key=lambda place: -sizes[place])
        self.sizes = [sizes[place] for place in self.order]
        codes = [groups[place] for place in self.order]
        rows = np.lexsort(codes[::-1])
        self.codes = [each[rows] for each in codes]
        self.y, self.m, self.design = successes[rows].astype(float), trials[rows].astype(float), design[rows]
        self.width, self.steep = design.shape[1], steep
        self.constant = float((gammaln(self.m + 1) - gammaln(self.y + 1) - gammaln(self.m - self.y + 1)).sum())
        self.modes = [np.zeros(size) for size in self.sizes]
        self.cells = _Cells(self.codes, self.sizes) if len(groups) == 2 else None
        self.factor: _Factor | None = None

    def at(self, parameters: Array) -> Point:
        """Return the likelihood at β and θ, (K + G,); it is even in each θ."""
        beta, signed = parameters[: self.width], parameters[self.width :][self.order]
        theta = np.abs(signed)
        value = self._find_modes(beta, theta)
        chance = expit(self._linear(beta, theta, self.modes))
        weights = self.m * chance * (1 - chance)
        factor = self.factor = _Factor(self, theta, weights)
        own, crossed = factor.inverse()
        # a_k H⁻¹ at the answer's own groups, and v_k.
        reach = [scale * some[codes] for scale, some, codes in zip(theta, own, self.codes, strict=True)]
        if crossed is not None:
            reach = [reach[0] + theta[1] * crossed, reach[1] + theta[0] * crossed]
        spread = sum(scale * some for scale, some in zip(theta, reach, strict=True))
        rest = self.y - self.m * chance
        bend = spread * weights * (1 - 2 * chance)
        moved = factor.solve(self._by_group(bend, theta))
        bend = bend - weights * self._sum(theta, moved)
        slopes = []
        for mode, shift, some, codes in zip(self.modes, moved, reach, self.codes, strict=True):
            direct = rest @ mode[codes]
            slopes.append(direct - 0.5 * (bend @ mode[codes] + rest @ shift[codes] + 2 * (weights @ some)))
        gradient = np.empty(len(parameters))
        gradient[: self.width] = self.design.T @ (rest - 0.5 * bend)
        gradient[[self.width + place for place in self.order]] = np.sign(signed) * slopes
        return Point(
            value - 0.5 * factor.log_determinant + self.constant,
            gradient,
            self._in_given_order(self.modes),
            self._in_given_order(own),
            self._in_given_order(self._follows(theta, weights, factor)),
        )

    def _follows(self, theta: Array, weights: Array, factor: "_Factor") -> list[Array]:
        """Return dû/dβ = -H⁻¹AᵀWX, by groupings."""
        moves = [factor.solve(self._by_group(-weights * column, theta)) for column in self.design.T]
        return [np.stack(parts, axis=1) for parts in zip(*moves, strict=True)]

    def _in_given_order(self, parts: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(parts[self.order.index(place)] for place in range(len(parts)))

    def _sum(self, theta: Array, vectors: Sequence[Array]) -> Array:
        """Return A times a vector given by groupings."""
        total: Array = np.zeros(len(self.y))
        for scale, codes, vector in zip(theta, self.codes, vectors, strict=True):
            total += (scale * vector)[codes]
        return total

    def _by_group(self, values: Array, theta: Array) -> list[Array]:
        """Return Aᵀ times the answers' values, by groupings."""
        together = zip(theta, self.codes, self.sizes, strict=True)
        return [scale * np.bincount(codes, values, size) for scale, codes, size in together]

    def _linear(self, beta: Array, theta: Array, modes: Sequence[Array]) -> Array:
        eta: Array = self.design @ beta + self._sum(theta, modes)
        return eta

    def _objective(self, eta: Array, modes: Sequence[Array]) -> float:
        likely = self.y @ eta + self.m @ log_expit(-eta)
        return float(likely) - 0.5 * sum(float(mode @ mode) for mode in modes)

    def _find_modes(self, beta: Array, theta: Array) -> float:
        """Move the modes to the maximum of h by Newton's method and return h.

        The factor of an earlier call serves as long as it brings the slope down quickly.
        """
        eta = self._linear(beta, theta, self.modes)
        value, before = self._objective(eta, self.modes), np.inf
        fresh = False
        for _ in range(200):
            chance = expit(eta)
            sums = self._by_group(self.y - self.m * chance, theta)
            slopes = [some - mode for some, mode in zip(sums, self.modes, strict=True)]
            steep = max(float(np.abs(slope).max()) for slope in slopes)
            if steep < self.steep:
                break
            if self.factor is None or (steep > 0.5 * before and not fresh):
                self.factor, fresh = _Factor(self, theta, self.m * chance * (1 - chance)), True
            else:
                fresh = False
            before = steep
            steps = self.factor.solve(slopes)
            value_before, size = value, 1.0
            while True:
                modes = [mode + size * step for mode, step in zip(self.modes, steps, strict=True)]
                eta = self._linear(beta, theta, modes)
                value = self._objective(eta, modes)
                if value >= value_before - 1e-9 * (1 + abs(value_before)):
                    break
                size /= 2
            self.modes = modes
        return value


class _Cells:
    """Where two groupings cross: answers sorted by cell, as rows and columns of a sparse matrix."""

    def __init__(self, codes: Sequence[Codes], sizes: Sequence[int]) -> None:
        new = np.concatenate([[True], (np.diff(codes[0]) != 0) | (np.diff(codes[1]) != 0)])
        self.starts = np.flatnonzero(new)
        self.cell = None if new.all() else np.cumsum(new) - 1
        self.rows, self.columns = codes[0][self.starts], codes[1][self.starts].astype(np.int32)
        self.shape = (sizes[0], sizes[1])
        self.edges = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=sizes[0]))]).astype(np.int32)
        steps = float((np.diff(self.edges).astype(float) ** 2).sum())
        self.dense = DENSE_STEPS * steps > float(sizes[0]) * sizes[1] ** 2

    def matrix(self, values: Array) -> "sparse.csr_array[Any]":
        """Return the answers' values, added up by cell."""
        cells = values if self.cell is None else np.add.reduceat(values, self.starts)
        return sparse.csr_array((cells, self.columns, self.edges), shape=self.shape)

    def of_answers(self, cells: Array) -> Array:
        """Return each answer's cell's value."""
        return cells if self.cell is None else cells[self.cell]

    def blocks(self) -> list[slice]:
        """Return slices of rows that are small enough to be dense."""
        step = max(1, 4_000_000 // self.shape[1])
        return [slice(start, start + step) for start in range(0, self.shape[0], step)]

    def gram(self, matrix: "sparse.csr_array[Any]") -> Array:
        """Return M'M dense, its lower triangle at least."""
        size = self.shape[1]
        if not self.dense:
            return _in_halves(lambda rows: (matrix[rows].T @ matrix[rows]).toarray(), self.shape[0], len(self.rows))
        total = np.zeros((size, size), order="F")
        for rows in self.blocks():
            total = linalg.blas.dsyrk(1.0, matrix[rows].toarray().T, beta=1.0, c=total, overwrite_c=True, lower=True)
        return total

    def product(self, matrix: "sparse.csr_array[Any]", symmetric: Array) -> Array:
        """Return the product's value in each cell."""
        found = np.empty(len(self.rows))
        if self.dense:
            for rows in self.blocks():
                part = slice(self.edges[rows.start], self.edges[min(rows.stop, self.shape[0])])
                found[part] = (matrix[rows].toarray() @ symmetric)[self.rows[part] - rows.start, self.columns[part]]
            return found
        flat, size = symmetric.ravel(), self.shape[1]
        columns = self.columns.astype(np.int64)
        for start, stop in zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True):
            own = columns[start:stop]
            found[start:stop] = flat.take(own[:, None] * size + own) @ matrix.data[start:stop]
        return found


def _in_halves(product: Callable[[slice], Array], rows: int, cells: int) -> Array:
    """Add up a product over rows; a large one by two threads, which scipy's products leave free to run together."""
    parts = 2 if cells > MANY else 1
    edges = [rows * place // parts for place in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        total, *rest = pool.map(lambda place: product(slice(edges[place], edges[place + 1])), range(parts))
    for part in rest:
        total += part
    return total


class _Factor:
    """H at given weights, factored: the first grouping's block is diagonal and eliminated from the second's."""

    def __init__(self, model: Laplace, theta: Array, weights: Array) -> None:
        self.diagonal = 1 + theta[0] ** 2 * np.bincount(model.codes[0], weights, model.sizes[0])
        self.log_determinant = float(np.log(self.diagonal).sum())
        self.cells = model.cells
        if self.cells is None:
            return
        self.cross = self.cells.matrix(theta[0] * theta[1] * weights)
        scaled = self.cross.copy()
        scaled.data *= (1 / np.sqrt(self.diagonal))[self.cells.rows]
        block = -self.cells.gram(scaled)
        block[np.diag_indices_from(block)] += 1 + theta[1] ** 2 * np.bincount(model.codes[1], weights, model.sizes[1])
        self.dense = linalg.cholesky(block, lower=True, overwrite_a=True, check_finite=False)
        self.log_determinant += 2 * float(np.log(np.diag(self.dense)).sum())

    def solve(self, right: Sequence[Array]) -> list[Array]:
        """Return H⁻¹ times a vector given by groupings."""
        first = right[0] / self.diagonal
        if self.cells is None:
            return [first]
        second = linalg.cho_solve((self.dense, True), right[1] - self.cross.T @ first, check_finite=False)
        return [first - (self.cross @ second) / self.diagonal, second]

    def inverse(self) -> tuple[list[Array], Array | None]:
        """Return the diagonal of H⁻¹ by groupings and, of two, what stands at each answer's own two groups, (N,)."""
        if self.cells is None:
            return [1 / self.diagonal], None
        inverse, _ = linalg.lapack.dpotri(self.dense, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        scaled = self.cross.copy()
        scaled.data /= self.diagonal[self.cells.rows]
        crossed = self.cells.product(scaled, inverse)
        added = np.bincount(self.cells.rows, crossed * scaled.data, len(self.diagonal))
        return [1 / self.diagonal + added, np.diag(inverse).copy()], -self.cells.of_answers(crossed)
