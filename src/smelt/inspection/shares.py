"""What a result took from its parents: least squares from sums of products, without another look at the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smelt.inspection.differences import Shares

INDEPENDENT = 1e-10  # of the largest eigenvalue of the cosines: below it a direction is taken for none


def explain_result(result: str, gram: NDArray[np.float64], products: Sequence[float], square: float) -> Shares:
    """Return the least squares of a result's difference on those of its parents.

    They are solved in units of each parent's norm, by the eigenvectors of the matrix of cosines. Directions whose
    eigenvalue is below ``INDEPENDENT`` of the largest are left out, so that parents that are the same share equally,
    and one whose difference is zero gets 0.

    Args:
        result: its label.
        gram: the sums of products of the parents' differences, shape (parents, parents).
        products: of the result's difference with each parent's.
        square: of the result's difference with itself.
    """
    norms = np.sqrt(np.diag(gram))
    scale = np.where(norms > 0, norms, 1.0)
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    kept = values > INDEPENDENT * max(values[-1], 0.0)
    kept &= values > 0
    directions = vectors[:, kept]
    coefficients = directions @ ((directions.T @ (np.asarray(products) / scale)) / values[kept]) / scale
    rest = square - 2 * float(coefficients @ products) + float(coefficients @ gram @ coefficients)
    return Shares(
        result,
        tuple(coefficients.tolist()),
        1 - math.fsum(coefficients.tolist()),
        math.sqrt(max(rest, 0.0) / square) if square else None,
        int(np.count_nonzero(kept)),
    )
