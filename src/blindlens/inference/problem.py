"""The inference problem: whitened data, the lens, and everything that is linear, as functions of normal coordinates."""

import bisect
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RunConfig
from ..errors import BlindlensError
from ..lens.lens_light import LensLight, SersicLight
from ..lens.mass import LensModel
from ..lens.mge import MultiGaussian
from ..lens.operator import LensOperator
from ..lens.parameters import LogUniform, ParameterSpace, Uniform
from ..linear import LinearOperator, Scaled
from ..observation import Observation
from ..prior import Denoiser
from .scales import ImageScales, image_scales

ENOUGH = (15, 50, 100, 170, 280, 450)
"""Signal-to-noise of the arcs from which it takes 3, 4, ... 8 rays a pixel and side, and never more."""
SMALLER = 3.0
"""How much smaller the least field of a source is to a sampler than to the search."""
NOISE_SCALE = (0.3, 3.0)
"""Prior range, log-uniform, of the factor on the noise map where it is inferred."""


class Problem(eqx.Module):
    """y = f A_l (C x + M) + G_l a + noise, divided by the noise's standard deviation; masked pixels weigh zero.

    y, weight: (ny, nx), weight = 1/noise or 0. space: the sampled parameters; `flux_scale` (f, 1 when absent),
    `source_fov`, the lens light's shape and `noise_scale` (s, 1 when absent: the noise is s times the map) are
    parameters beside the lens's own. scale, offset: C, M of the prior. eta: (d,) normal coordinates of the parameters,
    prior N(0, I). a ~ N(0, I) in units of the light's `amplitude`.
    """

    operator: LensOperator
    y: Array
    weight: Array
    space: ParameterSpace
    light: LensLight | None
    scale: float = eqx.field(static=True)
    offset: float = eqx.field(static=True)

    def params(self, eta: Array) -> dict[str, Array]:
        """Parameters in their own units."""
        return self.space.from_normal(eta)

    def whitening(self, p: dict[str, Array]) -> Array:
        """1 / (s noise), zero at masked pixels, (ny, nx)."""
        return self.weight / p["noise_scale"] if "noise_scale" in p else self.weight

    def log_det(self, p: dict[str, Array]) -> Array | float:
        """log of the noise's scale over all used pixels: what p(y | l) loses by a larger noise."""
        return jnp.sum(self.weight > 0) * jnp.log(p["noise_scale"]) if "noise_scale" in p else 0.0

    def light_images(self, p: dict[str, Array]) -> Array:
        """G: (k, ny, nx), blurred lens light per unit amplitude; k = 0 without lens light."""
        if self.light is None:
            return jnp.zeros((0, *self.operator.shape), self.y.dtype)
        images = self.light.images(p, self.operator.rays[0].x, self.operator.rays[0].y)
        return images if self.operator.blur is None else self.operator.blur(images)

    def system(self, eta: Array, basis: Array, x0: Array) -> tuple[Array, Array]:
        """(b, H) with b = H c + N(0, I): x = x0 + basis c_x, c = (c_x, a) ~ N(0, I).

        basis: (n*n, r), x0: (n, n), both in model units. b: (N,), H: (N, r + k).
        """
        return self.system_at(self.params(eta), basis, x0)

    def system_at(self, p: dict[str, Array], basis: Array, x0: Array) -> tuple[Array, Array]:
        """`system` for parameters in their own units."""
        # f and the noise are applied to what comes out of the operator, on the way: the sources stay constant, since
        # differentiating the gathers in them would cost ten times more
        noise = self.whitening(p)
        weight = p.get("flux_scale", 1.0) * noise
        whitened = eqx.tree_at(lambda A: A.mask, self.operator(p), weight, is_leaf=lambda leaf: leaf is None)
        pedestal = self.scale * x0.reshape(-1, 1) + self.offset
        columns = whitened.images(jnp.concatenate([self.scale * basis, pedestal], 1))
        columns = columns.reshape(-1, basis.shape[1] + 1)
        b, H = (noise * self.y).ravel() - columns[:, -1], columns[:, :-1]
        if self.light is not None:
            light = self.light_images(p) * noise
            H = jnp.concatenate([H, light.reshape(len(light), -1).T], 1)
        return b, H

    def source_image(self, eta: Array, x: Array) -> Array:
        """f A_l (C x + M) in data units, (ny, nx)."""
        p = self.params(eta)
        return p.get("flux_scale", 1.0) * (self.operator(p) @ (self.scale * x + self.offset))

    def light_image(self, eta: Array, a: Array) -> Array:
        """G_l a in data units, (ny, nx)."""
        return jnp.tensordot(a, self.light_images(self.params(eta)), 1)

    def residual(self, eta: Array, x: Array, a: Array) -> Array:
        """(y - model) / noise, (ny, nx), zero at masked pixels."""
        model = self.source_image(eta, x) + self.light_image(eta, a)
        return self.whitening(self.params(eta)) * (self.y - model)

    def chi2(self, eta: Array, x: Array, a: Array) -> Array:
        """Chi square per used pixel."""
        return jnp.sum(self.residual(eta, x, a) ** 2) / jnp.sum(self.weight > 0)

    def translated(self, eta: Array, columns: Array, rows: Array) -> tuple[Array, Array]:
        """eta with the source's field moved by so many source pixels, and whether it lies within the prior's range.

        The move keeps volume in (xs, ys), whose prior is uniform.
        """
        p = self.params(eta)
        pixel = p.get("source_fov", self.operator.fov) / self.operator.n
        inside = jnp.asarray(True)
        for name, steps in (("xs", columns), ("ys", rows)):
            block, start = self.space.block(name)
            assert isinstance(block, Uniform)
            moved = p[name] + steps * pixel
            inside &= (moved > block.low) & (moved < block.high)
            eta = eta.at[start].set(block.to_normal(jnp.clip(moved, block.low, block.high))[0])
        return eta, inside

    def enlarged(self, eta: Array, by: Array) -> tuple[Array, Array]:
        """eta with a field of the source larger by a factor exp(`by`) and a flux scale smaller by it, and whether they
        lie within the prior's range: what leaves the image as it is when the source shrinks by that in pixels, with its
        sum of squares kept.

        The move keeps volume in the two logarithms, whose priors are uniform.
        """
        p, inside = self.params(eta), jnp.asarray(True)
        for name, change in (("source_fov", by), ("flux_scale", -by)):
            block, start = self.space.block(name)
            assert isinstance(block, LogUniform)
            changed = p[name] * jnp.exp(change)
            inside &= (changed > block.low) & (changed < block.high)
            eta = eta.at[start].set(block.to_normal(jnp.clip(changed, block.low, block.high))[0])
        return eta, inside

    @property
    def sky(self) -> Array:
        """No light, in the units of x."""
        return jnp.asarray(-self.offset / self.scale, self.y.dtype)

    def with_free_field(self, scales: ImageScales) -> "Problem":
        """The same with `source_fov` as a last parameter, of smaller fields too than a search looks through: a prior
        that knows galaxies may want a compact one to fill its pixels. Rays stay as dense as for the operator's own.
        """
        space = self.space + field_space(scales, smaller=SMALLER)
        return Problem(self.operator, self.y, self.weight, space, self.light, self.scale, self.offset)

    def linear(self, p: dict[str, Array]) -> LinearOperator:
        """A~_l: x -> f C Sigma^-1/2 A_l x for one image in model units; p: parameters in their own units."""
        return Scaled(self.scale * p.get("flux_scale", 1.0) * self.whitening(p), self.operator(p))

    def measurement(self, p: dict[str, Array]) -> tuple[LinearOperator, Array]:
        """A~_l and y~ with y~ = A~_l x + N(0, I), without lens light: all that guidance sees of a lens."""
        A = self.linear(p)
        pedestal = A.mv(jnp.full(A.in_shape, self.offset / self.scale, self.y.dtype))
        return A, self.whitening(p) * self.y - pedestal


def build_problem(
    observation: Observation,
    prior: Denoiser,
    lens: LensModel,
    config: RunConfig,
    fov: float | None,
    scales: ImageScales | None = None,
) -> Problem:
    """The whitened problem; fov None makes `source_fov` a parameter, log-uniform over what the image can hold.

    scales: what sets the priors of flux, field of view and lens light, by default the observation itself; binned and
    cropped versions of one image must share them, or their normal coordinates mean different things.
    """
    scales = scales or image_scales(observation, config)
    space = lens.space
    if config.flux_scale == "infer":
        if not scales.arcs > 0:
            raise BlindlensError("the image has no positive flux to scale the prior by; check that it holds the lens")
        guess = scales.arcs / (prior.scale * 0.5 + prior.offset)
        space = space + ParameterSpace((LogUniform("flux_scale", guess / 30, guess * 30),))
    if fov is None:
        space = space + field_space(scales)
    light = lens_light(config, scales)
    if light is not None:
        space = space + light.space()
    if config.noise_scale == "infer":
        space = space + ParameterSpace((LogUniform("noise_scale", *NOISE_SCALE),))
    supersampling, core = rays(config, observation.pixel_scale, fov and fov / prior.n, scales.signal_to_noise)
    operator = LensOperator(
        lens,
        observation.shape,
        observation.pixel_scale,
        prior.n,
        fov or scales.field,
        observation.psf,
        None,
        supersampling,
        interpolation=config.interpolation,
        core=core,
    )
    f32 = jnp.float32
    known = 1.0 if config.noise_scale == "infer" else config.noise_scale
    weight = jnp.asarray(observation.mask / (known * observation.noise), f32)
    if isinstance(light, MultiGaussian):
        light = light.mixed(operator.rays[0].x, operator.rays[0].y, weight)
    scale = 1.0 if config.flux_scale == "infer" else float(config.flux_scale)
    return Problem(
        operator, jnp.asarray(observation.image, f32), weight, space, light, prior.scale * scale, prior.offset * scale
    )


def lens_light(config: RunConfig, scales: ImageScales) -> LensLight | None:
    """The model of the lens galaxy's light that is configured; its widths and brightness are those of the image.

    The prior sd of a Gaussian's peak is twice how bright the galaxy is beyond its width: enough for any profile, and
    too little for wide Gaussians of either sign to make up arcs between them.
    """
    outer = 0.5 * scales.field
    match config.lens_light:
        case "mge" | "mge2":
            count, sets = (20, 1) if config.lens_light == "mge" else (14, 2)
            light = MultiGaussian.spanning(0.4 * scales.pixel_scale, outer, count, 2 * scales.peak, sets)
            if scales.light is None:
                return light
            sigmas = np.asarray(light.sigmas)
            bright = np.where(sigmas < scales.pixel_scale, scales.peak, scales.light.brightness(sigmas))
            sd = 2 * np.maximum(bright, scales.peak / 1e4)
            return eqx.tree_at(lambda m: m.amplitude, light, jnp.asarray(sd, light.sigmas.dtype))
        case "sersic":
            return SersicLight(jnp.asarray(scales.peak, float), scales.pixel_scale, outer)
    return None


def field_space(scales: ImageScales, smaller: float = 1.0) -> ParameterSpace:
    """`source_fov`, log-uniform over what the image can hold; with lens light over less, as cutouts leave room for it,
    and a field as large as the image would have the source model the light of the lens. smaller: what the least is
    divided by.
    """
    low, high = (0.1, 0.8) if scales.light is None else (0.05, 0.5)
    return ParameterSpace((LogUniform("source_fov", low / smaller * scales.field, high * scales.field, "arcsec"),))


def rays(
    config: RunConfig, pixel_scale: float, source_pixel: float | None, signal_to_noise: float
) -> tuple[int, int | None]:
    """Rays per image pixel and side, everywhere and next to the lens's centre: as configured, or as many as keep the
    image's error well below its noise, for arcs of that signal-to-noise.

    By themselves they lie no further apart than source pixels, and closer where the arcs are brighter than 64 times the
    noise, or as far as the PSF allows (ENOUGH), whichever is further; next to the centre four times closer; 8 at the
    most. docs/ripple.md has the reasons. 2 while the source's pixel, in arcsec, is not known.
    """
    if config.supersampling != "auto":
        return config.supersampling, None
    if source_pixel is None:
        return 2, None
    # the error of the mean over a pixel's rays goes with the square of the distance between them
    wanted = pixel_scale / source_pixel * math.sqrt(max(1.0, signal_to_noise / 64)) - 1e-6
    enough = 2 + bisect.bisect_right(ENOUGH, signal_to_noise)
    return min(enough, max(1, math.ceil(wanted))), min(8, max(1, math.ceil(4 * wanted)))


def condition(b: Array, H: Array) -> tuple[Array, Array, Array]:
    """Gaussian conditioning for b = H c + N(0, I), c ~ N(0, I).

    Returns log p(b) = log N(b; 0, H H^T + I) without the constant -N/2 log(2 pi), the mean of c | b, (r,), and the
    Cholesky factor L of its precision I + H^T H, (r, r). b: (N,), H: (N, r). The quadratic form is computed as
    |b - H c|^2 + |c|^2, which is stationary in c and so keeps its digits in single precision.
    """
    log_evidence, (c, L) = _condition(b, H)
    return log_evidence, c, L


@jax.custom_vjp
def _condition(b: Array, H: Array) -> tuple[Array, tuple[Array, Array]]:
    L = jnp.linalg.cholesky(H.T @ H + jnp.eye(H.shape[1], dtype=H.dtype))
    c = jax.scipy.linalg.cho_solve((L, True), b @ H)
    quadratic = jnp.sum((b - H @ c) ** 2) + jnp.sum(c**2)
    return -quadratic / 2 - jnp.sum(jnp.log(jnp.diagonal(L))), (c, L)


def _condition_forward(b: Array, H: Array):
    out = _condition(b, H)
    return out, (b, H, *out[1])


def _condition_backward(saved, cotangent):
    # only the log evidence is differentiated: by Fisher's identity its gradient is the mean over c | b of the gradient
    # of -|b - H c|^2 / 2, so nothing goes back through the factorisation
    b, H, c, L = saved
    g = cotangent[0]
    residual = b - H @ c
    # the inverse costs r^3, and one matrix product with it half of what two triangular solves do
    half = jax.scipy.linalg.solve_triangular(L, jnp.eye(L.shape[0], dtype=L.dtype), lower=True)
    return -g * residual, g * (jnp.outer(residual, c) - H @ (half.T @ half))


_condition.defvjp(_condition_forward, _condition_backward)


def draw(key: Array, c: Array, L: Array) -> Array:
    """A draw of c | b from `condition`'s mean and factor, (r,)."""
    u = jax.random.normal(key, c.shape, c.dtype)
    return c + jax.scipy.linalg.solve_triangular(L, u, trans="T", lower=True)
