"""The answers that chose a side, as arrays of codes: what the estimates of one comparison start from."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.answers import ordinary

Codes = NDArray[np.intp]


@dataclass(frozen=True)
class Sides:
    """One comparison's answers that chose a side, N of them; the arms stand in the order of their names.

    Attributes:
        first: (N,) bool, whether the first arm was chosen.
        left: (N,) bool, whether the left side was chosen.
        rater: (N,) codes into `raters`.
        pair: (N,) codes into `pairs`.
        raters: Names of the raters who chose a side at least once.
        pairs: Names of the pairs on which a side was chosen.
        rows: (N,) places in the frame of ordinary answers that these come from.
    """

    first: NDArray[np.bool_]
    left: NDArray[np.bool_]
    rater: Codes
    pair: Codes
    raters: NDArray[np.object_]
    pairs: NDArray[np.object_]
    rows: Codes

    def __len__(self) -> int:
        """Return N."""
        return len(self.first)

    def only(self, keep: NDArray[np.bool_] | Codes) -> "Sides":
        """Return the answers where `keep` (N,) is true, or at the places that it names, with codes anew."""
        rater, raters = recode(self.rater[keep], self.raters)
        pair, pairs = recode(self.pair[keep], self.pairs)
        return Sides(self.first[keep], self.left[keep], rater, pair, raters, pairs, self.rows[keep])


def recode(codes: Codes, names: NDArray[np.object_]) -> tuple[Codes, NDArray[np.object_]]:
    """Return codes without gaps, in the same order, and the names that are left."""
    used = np.bincount(codes, minlength=len(names)) > 0
    return (np.cumsum(used) - 1)[codes], names[used]


def sides(frame: pd.DataFrame) -> Sides:
    """Return the ordinary answers of a frame of two arms that chose a side; "same" is left out.

    Raters and pairs are coded in the order of their names, so that the rows' order decides nothing but `rows`.

    Args:
        frame: Answers (see `analysis.answers`), all of the same two arms.
    """
    frame = ordinary(frame)
    choice = frame["choice"].to_numpy(dtype=object)
    rows = np.flatnonzero(choice != "same")
    left = choice[rows] == "left"
    left_is_first = (frame["left_arm"].to_numpy(dtype=object) < frame["right_arm"].to_numpy(dtype=object))[rows]
    rater, raters = pd.factorize(frame["rater"].iloc[rows], sort=True)
    pair, pairs = pd.factorize(frame["pair"].iloc[rows], sort=True)
    return Sides(
        first=left == left_is_first,
        left=left,
        rater=rater,
        pair=pair,
        raters=np.asarray(raters, dtype=object),
        pairs=np.asarray(pairs, dtype=object),
        rows=rows,
    )
