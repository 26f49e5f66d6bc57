"""Denoising error of priors on real galaxies that none of them was trained on.

python benchmarks/denoising.py IMAGES.npz [--priors galaxy-gaussian galaxy64] [--copies 8]

IMAGES: an array `images` (k, 64, 64) of linear stamps, each in a unit of its own. Each is brought to the brightness at
which 98 % of its pixels lie below C of the first prior, as 98 % of the training set's pixels do (arXiv:2511.04792).
Printed per noise level: mean squared error per pixel of each prior, over images and noise, its ratio to the first
prior's, the median over images of that ratio, and on how many images it is below 1.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from blindlens.prior import Denoiser, load_prior

SIGMAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@eqx.filter_jit
def squared_error(prior: Denoiser, x: jax.Array, sigma: jax.Array, keys: jax.Array) -> jax.Array:
    """Mean over pixels and noise of (D - x)^2 for each image, (k,)."""

    def one(x):
        x_t = x + sigma * jax.vmap(lambda key: jax.random.normal(key, x.shape))(keys)
        return jnp.mean((prior(x_t, sigma) - x) ** 2)

    return jax.lax.map(one, x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("--priors", nargs="+", default=["galaxy-gaussian", "galaxy64"])
    parser.add_argument("--copies", type=int, default=8, help="noise draws an image")
    arguments = parser.parse_args()
    priors = [load_prior(name) for name in arguments.priors]
    images = np.load(arguments.images)["images"].astype(np.float32)
    s = priors[0].scale * images / np.quantile(images, 0.98, axis=(1, 2), keepdims=True)
    keys = jax.random.split(jax.random.key(0), arguments.copies)
    print(f"{len(s)} images; rms error of {priors[0].name}, and of the others relative to it (squared)")
    for sigma in SIGMAS:
        errors = [
            np.asarray(squared_error(p, jnp.asarray((s - p.offset) / p.scale), jnp.float32(sigma), keys))
            for p in priors
        ]
        line = f"sigma {sigma:5g}: {np.sqrt(errors[0].mean()):.4f}"
        for prior, error in zip(priors[1:], errors[1:], strict=True):
            ratio = error / errors[0]
            line += (
                f"  {prior.name}: mean {error.mean() / errors[0].mean():.3f}, median {np.median(ratio):.3f}, "
                f"below 1 on {np.sum(ratio < 1)} of {len(s)}"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()
