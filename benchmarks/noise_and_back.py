"""Does a score prior keep its own draws when noise is added and taken away again, without any data?

python benchmarks/noise_and_back.py [--prior galaxy64] [--images 24] [--loops 8] [--noise 0.1] [--steps 12]

If its denoisers at all noise levels belonged to one prior, sources that gain noise and lose it along the probability
flow would stay draws of it. Printed for each noise s: by how much the squared error of the denoiser on them (how much
structure they have that noise hides) has changed after the first loop and the last, mean of log ratios with its
standard error. Three minutes on one core.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from blindlens.devices import prepare_jax
from blindlens.prior import Denoiser, load_prior
from blindlens.sampler.diffusion import probability_flow

END, LEVELS = 0.01, (0.03, 0.1, 0.3)


@eqx.filter_jit
def structure(prior: Denoiser, x: Array, sigma: Array, key: Array) -> Array:
    """Squared error of the denoiser over sigma^2, by image."""
    noise = sigma * jax.random.normal(key, x.shape)
    return jnp.sum((prior(x + noise, sigma) - x) ** 2, (1, 2)) / sigma**2


@eqx.filter_jit
def around(prior: Denoiser, x: Array, noise: Array, steps: int, key: Array) -> Array:
    """Noise added and taken away."""
    x_t = x + noise * jax.random.normal(key, x.shape)
    return probability_flow(prior, x_t, noise, END, steps)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prior", default="galaxy64")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--loops", type=int, default=8)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=12)
    given = parser.parse_args()
    prepare_jax()
    prior = load_prior(given.prior)
    x = eqx.filter_jit(lambda prior, key: prior.sample(key, (given.images,)))(prior, jax.random.key(5))

    def seen(x: Array) -> np.ndarray:
        keys = [jax.random.key(k) for k in range(2)]
        return np.array([np.mean([structure(prior, x, jnp.asarray(s), key) for key in keys], 0) for s in LEVELS])

    begin = seen(x)
    print("draws of the prior: " + ", ".join(f"{v:.0f} at {s:g}" for v, s in zip(begin.mean(1), LEVELS, strict=True)))
    for loop in range(given.loops):
        x = around(prior, x, jnp.asarray(given.noise), given.steps, jax.random.key(100 + loop))
        if loop in (0, given.loops - 1):
            change = np.log(seen(x) / begin)
            error = change.std(1) / np.sqrt(given.images)
            told = [f"{c:+.2f} ± {e:.2f} at {s:g}" for c, e, s in zip(change.mean(1), error, LEVELS, strict=True)]
            print(f"after {loop + 1}: " + ", ".join(told), flush=True)


if __name__ == "__main__":
    main()
