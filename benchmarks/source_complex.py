"""What the image of `source_complex` says of its lens when the source's family is known: nothing of ours but the lens.

python benchmarks/source_complex.py [--sub 2]

PyAutoLens made examples/source_complex: an SIE before four cored Sersic profiles, of which its authors publish all
parameters (PyAutoLabs/HowToLens, scripts/simulator/source_complex.py and its tracer.json). Printed: chi2 of that truth,
with the noise map as it is (made from the noisy image) and with the noise of the truth; then what one Gauss-Newton step
from the truth gives for ten lens parameters, the 28 of the source and a constant background, in double precision,
pixels integrated over by `sub` x `sub` rays (the image was made with 2 x 2). That step's widths are what the best
possible source model could say.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jax import Array

from blindlens import Observation
from blindlens.lens.blur import Blur
from blindlens.lens.light import elliptical_radius2, sersic_b
from blindlens.lens.mass import LensModel

FOLDER = Path(__file__).parents[1] / "examples" / "source_complex"
NAMES = ("x0", "y0", "q", "phi", "Rein", "t", "gamma_1", "gamma_2", "a_3 cos", "a_3 sin")
LENS = np.array([0, 0, 0.7, np.pi / 4, 1.6 * 2 * np.sqrt(0.7) / 1.7, 1, 0, 0, 1e-7, 1e-7])
# x, y, q, phi in degrees, I_e, R_e, n
SOURCE = np.array(
    [
        [0.1, 0.1, 0.8, 60, 0.1, 1.0, 2.5],
        [0.6, 0.8, 0.5, 30, 0.2, 0.3, 3.0],
        [0.6, -0.3, 0.3, 120, 0.6, 0.5, 1.5],
        [-0.3, -0.3, 0.9, 85, 0.4, 0.1, 2.0],
    ]
)
BREAK, SHARPNESS, SLOPE = 0.025, 3.0, 0.25


def core_sersic(s: Array, x: Array, y: Array) -> Array:
    """The cored Sersic profile of Trujillo et al. 2004; s: x, y, ellipticity's two parts, log I_e, log R_e, n."""
    size = jnp.hypot(s[2], s[3])
    q, phi = (1 - size) / (1 + size), jnp.arctan2(s[3], s[2]) / 2
    r = jnp.sqrt(elliptical_radius2(q, phi, s[0], s[1], x, y) + 1e-16)
    b, R, n, a = sersic_b(s[6]), jnp.exp(s[5]), s[6], SHARPNESS
    inner = 2 ** (-SLOPE / a) * jnp.exp(b * (2 ** (1 / a) * BREAK / R) ** (1 / n))
    cusp = (1 + (BREAK / r) ** a) ** (SLOPE / a)
    return jnp.exp(s[4]) * inner * cusp * jnp.exp(-b * ((r**a + BREAK**a) / R**a) ** (1 / (n * a)))


def model(observation: Observation, sub: int):
    """The image as a function of lens (10), source (28) and background."""
    lens, blur = LensModel(), Blur(observation.psf, observation.shape, "direct")
    x, y = (jnp.asarray(t) for t in observation.coordinates())
    steps = (np.arange(sub) - (sub - 1) / 2) / sub * observation.pixel_scale
    offsets = jnp.asarray([(dx, dy) for dx in steps for dy in steps])

    def image(p: Array) -> Array:
        params = dict(zip(NAMES[:8], p[:8], strict=True))
        params |= {"a_3": jnp.hypot(p[8], p[9]), "phi_3": jnp.arctan2(p[9], p[8]) / 3}

        def add(total, offset):
            beta = lens.ray_shoot(params, x + offset[0], y + offset[1])
            return total + sum(core_sersic(s, *beta) for s in p[10:38].reshape(4, 7)), None

        total = jax.lax.scan(add, jnp.zeros(observation.shape), offsets)[0]
        return blur(total / len(offsets)) + p[38]

    return image


def truth() -> np.ndarray:
    """What `model` takes, with which its authors made the image."""
    size, angle = (1 - SOURCE[:, 2]) / (1 + SOURCE[:, 2]), 2 * np.deg2rad(SOURCE[:, 3])
    columns = [SOURCE[:, 0], SOURCE[:, 1], size * np.cos(angle), size * np.sin(angle)]
    columns += [np.log(SOURCE[:, 4]), np.log(SOURCE[:, 5]), SOURCE[:, 6]]
    return np.concatenate([LENS, np.stack(columns, 1).ravel(), [0.0]])


def noise_model(observation: Observation) -> tuple[float, float]:
    """noise^2 = gain * brightness + sky."""
    gain, sky = np.polyfit(observation.image.ravel(), observation.noise.ravel() ** 2, 1)
    return float(gain), float(sky)


def step(W: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A Gauss-Newton step for residuals r (N,) with derivatives W (N, d) of the model, both in the noise's unit: the
    move, its standard deviations, by how much chi2 falls.
    """
    scale = np.linalg.norm(W, axis=0)
    C = np.linalg.inv((W / scale).T @ (W / scale)) / np.outer(scale, scale)
    slope = W.T @ r
    return C @ slope, np.sqrt(np.diag(C)), float(slope @ C @ slope)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sub", type=int, default=2)
    sub = parser.parse_args().sub
    jax.config.update("jax_enable_x64", True)
    observation = Observation.from_fits(*(FOLDER / f"{name}.fits" for name in ("data", "noise_map", "psf")))
    p = truth()
    image = model(observation, sub)
    ideal, J = np.asarray(image(p)), np.asarray(jax.jit(jax.jacfwd(image))(p)).reshape(-1, p.size)
    data, given = observation.image, observation.noise
    gain, sky = noise_model(observation)
    print(f"noise^2 = {gain:.3e} (data + {sky / gain:.3f}) to {np.abs(gain * data + sky - given**2).max():.0e}")
    for words, noise in (("noise as given", given), ("noise of the truth", np.sqrt(gain * ideal + sky))):
        r, W = ((data - ideal) / noise).ravel(), J / noise.reshape(-1, 1)

        move, sd, whole = step(W, r)
        lens_alone = whole - step(W[:, 10:], r)[2]
        print(f"{words}: chi2/pixel of the truth {r @ r / r.size:.4f}; of the lens's ten parameters")
        print("  " + ", ".join(f"{n} {m:+.4f} ± {s:.4f}" for n, m, s in zip(NAMES, move[:10], sd[:10], strict=True)))
        print(f"  chi2 falls by {lens_alone:.1f} for them, p = {scipy.stats.chi2.sf(lens_alone, 10):.3f}")


if __name__ == "__main__":
    main()
