"""Is a denoiser as good as it says? Its error on unseen images, beside the error that its Jacobian claims."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..errors import BlindlensError
from ..prior.denoiser import Denoiser
from .stacks import image_stack


def denoising_table(
    denoisers: Mapping[str, Denoiser],
    images: Any,
    sigmas: tuple[float, ...],
    key: Array,
    probes: int = 1,
    batch: int = 16,
    advance: Callable[..., None] | None = None,
) -> dict[str, list[dict[str, float]]]:
    """Errors of several denoisers on the same noisy images, per noise level.

    images: x (k, n, n), in the model units of the *first* denoiser, as is sigma; the others' units are converted. With
    x_t = x + sigma eps, in means over pixels,

        error = |x - D(x_t)|^2,    claim = sigma^2 tr(dD/dx_t) = tr Cov[x | x_t]

    (Tweedie's formula of second order; Hutchinson's trace with `probes` vectors of random signs). For the exact
    denoiser of the images' own distribution error and claim agree on average, and the error is the least that any
    denoiser has. Read both: D(x_t) = x_t also has ratio 1, with the error sigma^2.

    Returns for each denoiser one row per sigma: `sigma`, `error`, `claim`, `ratio` = mean error / mean claim, each
    with its standard error over images, `..._se`. A probe costs one gradient; noise depends on key, sigma's place
    and the image's place alone. `advance`: called with the number of images done.

    Raises BlindlensError for images or denoisers of other sizes, sigmas that aren't positive, or a denoiser whose
    output isn't finite.
    """
    reference = next(iter(denoisers.values()))
    images = image_stack(images, "images", reference.n, least=2)
    if any(d.n != reference.n for d in denoisers.values()):
        raise BlindlensError(f"denoisers must have the same n: {', '.join(f'{k} {d.n}' for k, d in denoisers.items())}")
    if not sigmas or not all(0 < s < np.inf for s in sigmas):
        raise BlindlensError(f"sigmas must be positive numbers, not {sigmas}")
    table = {}
    for name, denoiser in denoisers.items():
        gain = reference.scale / denoiser.scale
        units = (gain, (reference.offset - denoiser.offset) / denoiser.scale)
        table[name] = []
        for place, sigma in enumerate(sigmas):
            sigma_key = jax.random.fold_in(key, place)
            parts = []
            for start in range(0, len(images), batch):
                some = np.arange(start, min(start + batch, len(images)))
                padded = np.resize(some, batch)  # one compiled shape
                x = jnp.asarray(images[padded], jnp.float32)
                keys = jax.vmap(jax.random.fold_in, (None, 0))(sigma_key, jnp.asarray(padded))
                both = _error_and_claim(denoiser, units, x, jnp.float32(sigma), keys, probes)
                parts.append(np.asarray(both, np.float64)[:, : len(some)])
                if advance is not None:
                    advance(len(some))
            table[name].append({"sigma": float(sigma), **_row(name, sigma, *np.concatenate(parts, 1))})
    return table


@eqx.filter_jit
def _error_and_claim(denoiser: Denoiser, units, x: Array, sigma: Array, keys: Array, probes: int) -> tuple:
    """Error and claim per image, (batch,) each, in units of x."""
    gain, shift = units

    def denoise(x_t: Array) -> Array:
        return (denoiser(gain * x_t + shift, gain * sigma) - shift) / gain

    def noise(number: int, draw: Callable) -> Array:
        return jax.vmap(lambda key: draw(jax.random.fold_in(key, number), x.shape[1:], x.dtype))(keys)

    # Reverse mode: networks with hand-written gradients have no forward mode, and v.(J^T v) = v.(J v).
    estimate, pull = jax.vjp(denoise, x + sigma * noise(0, jax.random.normal))
    signs = jnp.stack([noise(1 + k, jax.random.rademacher) for k in range(probes)])
    trace = jnp.mean(jax.lax.map(lambda v: jnp.mean(v * pull(v)[0], (-2, -1)), signs), 0)
    return jnp.mean((x - estimate) ** 2, (-2, -1)), sigma**2 * trace


def _row(name: str, sigma: float, error: np.ndarray, claim: np.ndarray) -> dict[str, float]:
    if not (np.isfinite(error).all() and np.isfinite(claim).all()):
        raise BlindlensError(f"denoiser {name} gives values that are not finite at sigma = {sigma:g}")
    root = np.sqrt(len(error))
    ratio = error.mean() / claim.mean()
    return {
        "error": float(error.mean()),
        "error_se": float(error.std(ddof=1) / root),
        "claim": float(claim.mean()),
        "claim_se": float(claim.std(ddof=1) / root),
        "ratio": float(ratio),
        "ratio_se": float((error - ratio * claim).std(ddof=1) / abs(claim.mean()) / root),
    }
