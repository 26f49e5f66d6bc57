"""Light that neither the source nor the lens galaxy explains: neighbours on the sky, to be masked.

The cold start's best lens leaves a neighbour in its residuals, since its source would have to be seen elsewhere too. So
does a lens that is simply wrong, but then residuals are everywhere, and nothing is masked.
"""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jax import Array

from ..observation import Observation
from .evidence import Evidence
from .problem import condition

PEAK, EDGE = 6.0, 2.0
"""Sigma, in the mean of 3 x 3 pixels: what a neighbour's brightest part stands out by, and what still belongs to it."""
WINGS, ROUNDS = 0.15, 6
"""Share of the brightest down to which it is masked; rounds, at most, of masking the brightest and fitting anew."""
CORE = 0.25
"""Arcsec from the lens galaxy's centre within which residuals are those of its own light."""
MOST = 0.04
"""Share of the image that may be foreign: more, and it is the model that is wrong."""


@eqx.filter_jit
def explained(evidence: Evidence, eta: Array) -> tuple[Array, Array]:
    """(y - model)/noise and the source's part of the model over the noise, for the mean source and lens light of the
    lens eta (d,): (ny, nx) each.
    """
    problem, r = evidence.problem, evidence.basis.shape[1]
    b, H = problem.system(eta, evidence.basis, evidence.x0)
    c = condition(b, H)[1]
    mean = (problem.whitening(problem.params(eta)) * problem.y).ravel() - b
    shape = problem.operator.shape
    return (b - H @ c).reshape(shape), (mean + H[:, :r] @ c[:r]).reshape(shape)


def foreign(
    residual: np.ndarray, source: np.ndarray, used: np.ndarray, pixel_scale: float, centre: tuple[float, float]
) -> np.ndarray:
    """The brightest of what stands out of white noise by PEAK sigma or more, with its surroundings: (ny, nx) bool.

    What is less than half as bright is left for the next round: the brightest bends the whole model.

    Not within CORE of the lens galaxy's `centre` (arcsec), where its own light is to blame, and not where the source is
    twice as bright as what is left, which is a knot of it that the prior is too smooth for. residual, source: in units
    of the noise; used: True where they mean something.
    """
    kernel = np.ones((3, 3))
    count = scipy.ndimage.convolve(used.astype(float), kernel, mode="constant")

    def mean(image: np.ndarray) -> np.ndarray:
        total = scipy.ndimage.convolve(np.where(used, image, 0.0), kernel, mode="constant")
        return np.where(used, total / np.sqrt(np.maximum(count, 1)), 0.0)

    smooth = mean(residual)
    rows, cols = ((np.arange(n) - (n - 1) / 2) * pixel_scale for n in residual.shape)
    off = np.hypot(cols[None] - centre[0], rows[:, None] - centre[1]) > CORE
    if not off.any():
        return off
    most = float(smooth[off].max())
    edge = max(EDGE, WINGS * most)
    labels = np.asarray(scipy.ndimage.label((smooth > edge) & off)[0])  # type: ignore[index]
    peaks = (smooth > max(PEAK, most / 2)) & off & (labels > 0) & (mean(source) < 2 * smooth)
    return scipy.ndimage.binary_dilation(np.isin(labels, np.unique(labels[peaks])))


def without_foreign(observation: Observation, binned: Observation, evidence: Evidence, eta: Array) -> Observation:
    """The observation with the brightest that its lens eta (d,) leaves unexplained masked; itself, if there is nothing.

    binned: the observation of which `evidence` is.
    """
    p = evidence.problem.params(jnp.asarray(eta))
    centre = (float(p.get("x_light", p["x0"])), float(p.get("y_light", p["y0"])))
    residual, source = (np.asarray(image, float) for image in explained(evidence, jnp.asarray(eta)))
    where = foreign(residual, source, binned.mask, binned.pixel_scale, centre)
    k = round(binned.pixel_scale / observation.pixel_scale)
    fine = np.kron(where, np.ones((k, k), bool))
    border = [(m - n) // 2 for m, n in zip(fine.shape, observation.shape, strict=True)]
    fine = fine[tuple(slice(b, b + n) for b, n in zip(border, observation.shape, strict=True))]
    return replace(observation, mask=observation.mask & ~fine) if (fine & observation.mask).any() else observation


def noted(before: Observation, after: Observation) -> Observation:
    """`after` with a note on what `before` has and it has not; `before`, if that is too much to be foreign."""
    lost = before.mask & ~after.mask
    if not lost.any() or lost.mean() > MOST:
        return before
    labels = np.asarray(scipy.ndimage.label(lost, np.ones((3, 3)))[0])  # type: ignore[index]
    x, y = before.coordinates()
    spots = [f"({x[labels == i].mean():+.2f}, {y[labels == i].mean():+.2f})" for i in range(1, labels.max() + 1)]
    where = ", ".join(spots[:8]) + (", ..." if len(spots) > 8 else "")
    note = f"{lost.sum()} pixels masked as foreign light at {where} arcsec: no source behind the lens explains it"
    return replace(after, notes=(*after.notes, note))
