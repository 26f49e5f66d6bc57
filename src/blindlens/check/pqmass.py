"""PQMass: are two sets of images draws from one distribution? (Lemos et al. 2024, arXiv:2402.04355)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from ..errors import BlindlensError
from .stacks import image_stack


def pqmass(
    x: Any,
    y: Any,
    seed: Any = 0,
    regions: int = 100,
    tessellations: int = 2000,
    permutations: int = 200,
    advance: Callable[..., None] | None = None,
) -> dict[str, float | int]:
    """Chi2 of the two-sample test on the counts of x (kx, n, n) and y (ky, n, n) in random Voronoi cells.

    `regions` reference images are drawn from the pool of both sets, whichever they belong to; every other image falls
    to the nearest reference (Euclidean distance of pixels). With counts a_r, b_r and t_r = a_r + b_r, N = sum t_r,

        chi2 = N^2 / (sum a sum b) (sum_r a_r^2 / t_r - (sum a)^2 / N),

    of mean dof = regions - 1 (times N / (N - 1)) and sd about sqrt(2 dof) if both sets have one distribution. Where
    cells stay empty it is brought to the same quantile of dof = regions - 1, as in the authors' code (pqm 0.6.3).
    Re-tessellations share the images, so the mean over them is not known to sqrt(2 dof / tessellations): its spread
    comes from exchanging the images' labels, which is exact, since references are drawn without looking at labels.

    Distances of pixels are those of the large scales: white noise of a quarter of the pixels' root mean square on one
    of two sets of 4000 galaxies goes unseen. Read the power spectrum (check.appearance) as well.

    Returns `chi2` and `sd`, mean and standard deviation over tessellations; `dof`; `null_mean`, `null_sd` of that mean
    for exchanged labels, and the share of these with a mean chi2 as large (`p`) or as small (`p_alike`; small values
    say that one set repeats the other) as the true labels'; `empty`, the mean number of empty cells; the sizes `x`
    and `y`. seed: anything numpy.random.default_rng takes. Distances cost 2 (kx + ky)^2 n^2 operations and
    4 (kx + ky)^2 bytes, once. `advance`: called once per tessellation.

    Raises BlindlensError for stacks of other or different shapes, and for fewer than twice as many images as regions.
    """
    x, y = image_stack(x, "x"), image_stack(y, "y")
    image_stack(y, "y", x.shape[1])
    count = len(x) + len(y)
    if regions < 2 or count < 2 * regions or min(len(x), len(y)) < 2:
        raise BlindlensError(f"PQMass with {regions} regions needs 2 regions and {2 * regions} images, not {count}")
    rng = np.random.default_rng(seed)
    distance = squared_distances(np.concatenate([x, y]).reshape(count, -1))
    labels = np.zeros((count, 1 + permutations), np.float32)
    labels[: len(x), 0] = 1
    for k in range(permutations):
        labels[:, 1 + k] = rng.permutation(labels[:, 0])
    chi2 = np.empty((tessellations, 1 + permutations))
    empty = np.empty(tessellations, int)
    for k in range(tessellations):
        references = rng.choice(count, regions, replace=False)
        cell = distance[references].argmin(0)
        chi2[k], empty[k] = _chi2(cell, references, labels, regions)
        if advance is not None:
            advance()
    mean = chi2.mean(0)
    exchanged = mean[1:]
    return {
        "chi2": float(mean[0]),
        "sd": float(chi2[:, 0].std()),
        "dof": regions - 1,
        "null_mean": float(exchanged.mean()) if permutations else float("nan"),
        "null_sd": float(exchanged.std()) if permutations else float("nan"),
        "p": float((1 + np.sum(exchanged >= mean[0])) / (1 + permutations)),
        "p_alike": float((1 + np.sum(exchanged <= mean[0])) / (1 + permutations)),
        "empty": float(empty.mean()),
        "x": len(x),
        "y": len(y),
    }


def one_each(galaxies: Any, rng: np.random.Generator) -> np.ndarray:
    """Numbers, sorted, of images (k,) of which no two show one galaxy, in the proportions of all; galaxies: names (k,).

    PQMass counts independent images. A galaxy that m images show stays with probability m / max m, in one of them:
    where a set repeats its galaxies to have them in a larger share, the share is kept.
    """
    _, index, times = np.unique(np.asarray(galaxies), return_inverse=True, return_counts=True)
    order = rng.permutation(len(index))
    _, first = np.unique(index[order], return_index=True)
    return np.sort(order[first][rng.random(len(first)) * times.max() < times])


def squared_distances(points: np.ndarray) -> np.ndarray:
    """|p_i - p_j|^2 of points (k, d), (k, k) float32; good to about 1e-6 of the largest |p - mean|^2."""
    p = points.astype(np.float32)
    p -= p.mean(0, dtype=np.float64).astype(np.float32)  # |p|^2 + |q|^2 - 2 p.q would lose what all have in common
    square = np.einsum("kd,kd->k", p, p)
    out = p @ p.T
    out *= -2
    out += square
    out += square[:, None]
    return out


def _chi2(cell: np.ndarray, references: np.ndarray, labels: np.ndarray, regions: int) -> tuple[np.ndarray, int]:
    """Chi2 for each column of labels, and the number of empty cells."""
    weight = np.ones(len(cell), np.float32)
    weight[references] = 0  # a reference lies in its own cell by construction
    counts = scipy.sparse.csc_array((weight, cell, np.arange(len(cell) + 1)), shape=(regions, len(cell)))
    a = (counts @ labels).astype(np.float64)
    total = np.bincount(cell, weight, regions)
    filled = total > 0
    if filled.sum() < 2:
        raise BlindlensError("PQMass: all images lie in one Voronoi cell; are they all the same?")
    n, na = total.sum(), a.sum(0)
    chi2 = n**2 / (na * (n - na)) * (np.sum(a[filled] ** 2 / total[filled, None], 0) - na**2 / n)
    empty = int(regions - filled.sum())
    return _same_quantile(chi2, regions - 1 - empty, regions - 1) if empty else chi2, empty


def _same_quantile(chi2: np.ndarray, dof: int, other: int) -> np.ndarray:
    """The value that chi2 of `other` degrees of freedom has where that of `dof` has chi2 (Wilson & Hilferty 1931).

    Within 0.1 % but far below the mean; unlike the distribution's own functions it does not overflow.
    """
    z = (np.cbrt(chi2 / dof) - 1 + 2 / (9 * dof)) / np.sqrt(2 / (9 * dof))
    return other * np.maximum(1 - 2 / (9 * other) + z * np.sqrt(2 / (9 * other)), 0) ** 3
