"""What a source of n x n pixels cannot show of `source_complex`, and where that puts the lens.

python benchmarks/source_grid.py

The truth's image without noise (`source_complex.py`, 8 x 8 rays a pixel) is fitted at the true lens by any source on a
grid, without a prior: chi2 of what is left, in the noise of the example, is the grid's own error. Printed beside it: to
first order, by how many standard deviations each of ten lens parameters moves to take some of it, and by how much chi2
falls for that. Sources are free, so that widths are greater than under a prior.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from source_complex import FOLDER, LENS, NAMES, model, noise_model, step, truth

from blindlens import Observation
from blindlens.devices import prepare_jax
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator

GRIDS = ((64, 3.5), (64, 4.4), (64, 5.0), (64, 5.5), (64, 6.5), (128, 5.5))
MIDDLE, RAYS, STEPS = (0.3, -0.05), 4, 200


def left(operator: LensOperator, p: dict[str, Array], weight: Array, image: Array) -> tuple[Array, Array]:
    """The source (n, n) that explains an image (in units of the noise) best, and what is left, by conjugate gradients
    from nothing.
    """
    A = operator(p)
    n = A.in_shape[0]

    def step(_, carry):
        x, r, d, size = carry
        moved = weight * A.mv(d)
        length = size / jnp.sum(moved**2)
        x, r = x + length * d, r - length * moved
        s = A.T.mv(weight * r)
        new = jnp.sum(s**2)
        return x, r, s + new / size * d, new

    s = A.T.mv(weight * image)
    x, r, *_ = jax.lax.fori_loop(0, STEPS, step, (jnp.zeros((n, n), image.dtype), image, s, jnp.sum(s**2)))
    return x, r


def main() -> None:
    prepare_jax()
    given = Observation.from_fits(*(FOLDER / f"{name}.fits" for name in ("data", "noise_map", "psf")))
    gain, sky = noise_model(given)
    ideal = np.asarray(jax.jit(model(given, 8))(truth()), float)
    weight = jnp.asarray(1 / np.sqrt(gain * ideal + sky), jnp.float32)
    image, at = weight * ideal.astype(np.float32), jnp.asarray(LENS, jnp.float32)

    def params(l: Array) -> dict[str, Array]:
        p = dict(zip(NAMES[:8], l[:8], strict=True)) | dict(zip(("xs", "ys"), jnp.asarray(MIDDLE), strict=True))
        return p | {"a_3": jnp.hypot(l[8], l[9]), "phi_3": jnp.arctan2(l[9], l[8]) / 3}

    print(f"{'pixels':>8}{'field':>7}{'chi2':>9}{'falls by':>10}  " + "".join(f"{name:>9}" for name in NAMES))
    for n, fov in GRIDS:
        operator = LensOperator(LensModel(), ideal.shape, given.pixel_scale, n, fov, given.psf, None, RAYS)
        fit = jax.jit(lambda b, operator=operator: left(operator, params(at), weight, b))
        x, r = fit(image)
        seen = jax.jit(jax.jacfwd(lambda l, x=x, operator=operator: weight * operator(params(l)).mv(x)))(at)
        J = np.stack([np.asarray(fit(seen[..., k])[1], float).ravel() for k in range(len(NAMES))], 1)
        move, sd, fall = step(J, np.asarray(r, float).ravel())
        shifts = "".join(f"{z:9.1f}" for z in move / sd)
        print(f"{n:8d}{fov:7.1f}{float(jnp.sum(r**2)):9.1f}{fall:10.1f}  {shifts}", flush=True)


if __name__ == "__main__":
    main()
