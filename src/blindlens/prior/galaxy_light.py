"""One galaxy's light from its properties, in JAX. Lengths in units of half the field of view, angles in radians.

`paint` draws everything on a grid twice as fine as the stamp, then sees it through a Gaussian point-spread function
averaged over pixels. Nothing is periodic: what leaves the stamp is lost.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf, gammaln

FINE = 2  # grid points per pixel and side
TEXTURE = 48  # points a side of the random fields, periodic over EXTENT disc scale lengths
EXTENT = 9.0
KNOTS = 96  # at most
LEAST_LENGTH = 0.15  # of the waves below
WAVES = 2  # of the isophotes' distortion, along each axis: 12 and 6 scale lengths long


def paint(p: dict, npix: int, psf_fwhm: float) -> Array:
    """Surface brightness (npix, npix) of the galaxy with properties p (`galaxies._draw`), row 0 at the bottom.

    A galaxy wholly on the stamp, without companion and dust, sums to p["flux"] (npix / 64)^2.
    """
    m = FINE * npix
    grid = ((np.arange(m, dtype=np.float32) + 0.5) / m) * 2 - 1
    x, y = grid[None, :] - p["centre"][0], grid[:, None] - p["centre"][1]
    # Isophotes of real galaxies are not ellipses: shift each point by a smooth random field, more outside.
    reach = p["warp"] * (jnp.hypot(x, y) + 0.5 * p["height"])
    # Small galaxies' waves are not as short as they are: many periods over the stamp would weave a lattice.
    length = jnp.maximum(p["height"], LEAST_LENGTH)
    waves_x, waves_y = _waves(x[0] / length), _waves(y[:, 0] / length)
    x = x + reach * (waves_y @ p["waves"][0] @ waves_x.T)
    y = y + reach * (waves_y @ p["waves"][1] @ waves_x.T)
    x, y = _turn(x, y, p["angle"])

    disc = _disc(p, x, y)
    disc = disc / jnp.sum(disc)
    knots = _knots(p, disc, grid)
    bx, by = x - p["bulge_offset"][0], y - p["bulge_offset"][1]
    bulge_q = jnp.maximum(p["bulge_q"], p["q"])
    bulge = _sersic(bx, by, p["bulge_size"], p["bulge_sersic"], bulge_q) * (2 / m) ** 2
    smooth = p["bulge"] * bulge + (1 - p["bulge"]) * (1 - p["knots"]) * disc
    smooth = smooth * _lane(p, x, y)

    cx, cy = grid[None, :] - p["centre"][0], grid[:, None] - p["centre"][1]
    cx, cy = cx - p["companion_centre"][0], cy - p["companion_centre"][1]
    cx, cy = _turn(cx, cy, p["companion_angle"])
    light = _sersic(cx, cy, p["companion_size"], p["companion_sersic"], p["companion_q"]) * (2 / m) ** 2
    smooth = smooth + p["companion"] * light

    to_pixels = _psf(grid, 0.0, npix, psf_fwhm)
    image = to_pixels @ smooth @ to_pixels.T
    weight = p["knots"] * (1 - p["bulge"]) * p["knot_flux"]
    ky = _psf(knots[:, 1], p["knot_sigma"], npix, psf_fwhm)
    kx = _psf(knots[:, 0], p["knot_sigma"], npix, psf_fwhm)
    # Brightness, not flux per pixel: the same whatever npix.
    return p["flux"] * (npix / 64) ** 2 * (image + (ky * weight) @ kx.T)


def _turn(x, y, angle):
    c, s = jnp.cos(angle), jnp.sin(angle)
    return c * x + s * y, c * y - s * x


def _psf(position, sigma, npix, fwhm):
    """Share (npix, k) of Gaussians at `position` (k,) that falls into each pixel of one axis."""
    edges = np.linspace(-1, 1, npix + 1, dtype=np.float32)
    width = jnp.sqrt(2 * (jnp.asarray(sigma) ** 2 + (fwhm / 2.3548 * 2 / npix) ** 2))
    return jnp.diff(0.5 * erf((edges[:, None] - position) / width), axis=0)


def _sersic(x, y, size, n, q):
    """Sersic profile of unit flux (Ciotti & Bertin 1999 for b_n), its cusp softened over a hundredth of the stamp."""
    b = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2)
    r2 = (q * x**2 + y**2 / q + 0.008**2) / size**2
    log_flux = jnp.log(2 * jnp.pi * n) + 2 * jnp.log(size) + gammaln(2 * n) - 2 * n * jnp.log(b)
    return jnp.exp(-b * r2 ** (0.5 / n) - log_flux)


def _disc(p, x, y):
    """Inclined disc: exponential, with everything that lives in its plane. Not normalised."""
    h, q = p["height"], p["q"]
    v, u = y / (h * q), x / h
    r = jnp.sqrt(u**2 + v**2 + 0.01)
    phi = jnp.arctan2(v, u)
    a, k = p["break"], 3.0  # smooth break from scale length 1 to half of it at radius a
    profile = jnp.exp(-r - jnp.logaddexp(0.0, k * (r - a)) / k)

    length = p["bar_length"] / h
    spiral = p["winding"] * jnp.log(r / length)
    angle = phi - p["phase"] - spiral
    angle = angle + p["arm_wobble"] * jnp.cos(phi - p["wobble_phase"] + 1.5 * r)
    beat = 1 + p["arm_inequality"] * jnp.cos(angle)  # one arm brighter than its opposite
    window = (1 - jnp.exp(-((r / length) ** 3))) / (1 + jnp.exp(2 * (r - p["arm_reach"])))
    crest = jnp.exp(p["arm_sharpness"] * (jnp.cos(p["arm_count"] * angle) - 1))
    arms = (1 + p["arm_strength"] * window * beat * (1.6 * crest - 0.4)).clip(0.2)

    bx, by = _turn(u, v, p["phase"])
    bar = (1 - jnp.abs(bx / length) ** 3 - (by / (length * p["bar_width"])) ** 2).clip(0)
    ring = p["ring"] * jnp.exp(-0.5 * ((r - 1.15 * length) / (0.25 * length)) ** 2)
    # Clumps are sheared by rotation: look the texture up in coordinates that turn with the spiral.
    sheared = _turn(u, v, 0.6 * spiral.clip(-6, 6))
    clumps = _lookup(_texture(p["texture"], p["texture_slope"]), *sheared)
    clumps = jnp.exp(p["flocculence"] * clumps * (1 - jnp.exp(-((r / 0.6) ** 2))))
    lopsided = 1 + p["lopsided"] * jnp.cos(phi + p["phase"]) * jnp.minimum(r / 1.5, 2.0)
    # Lanes of dust on the arms' inner edge.
    lane = jnp.exp(-0.6 * p["dust"] * window * jnp.exp(4 * (jnp.cos(p["arm_count"] * angle + 1.1) - 1)))
    lane = jnp.where(p["arm_strength"] > 0, lane, 1.0)
    tail_phi = phi - p["tail_angle"] + p["angle"] - 0.35 * p["winding"] * jnp.log(r / 2)
    tail = p["tail"] * jnp.exp(-r / 3 + 6 * (jnp.cos(tail_phi) - 1)) * jax.nn.sigmoid(4 * (r - 2)) * 0.3
    inner = profile * (arms * lane + ring) * clumps * lopsided.clip(0.05)
    return inner + profile * p["bar"] * bar + tail * clumps


def _lane(p, x, y):
    """Transmission of the dust lane of a disc seen near its edge."""
    h = p["height"]
    edge_on = jax.nn.sigmoid((0.42 - p["q"]) / 0.04)
    behind = jnp.exp(-0.5 * ((y - p["lane_offset"]) / (0.1 * h)) ** 2 - 0.5 * (x / (2.5 * h)) ** 2)
    return jnp.exp(-p["dust"] * edge_on * behind)


def _knots(p, disc, grid):
    """Positions (KNOTS, 2) of knots, as (x, y): most where the disc is bright, spread somewhat wider."""
    weight = disc**0.8
    place, m = p["knot_place"], len(grid)
    below = np.tri(m, dtype=np.float32)  # cumulative sums as products: quicker than a scan
    rows = below @ weight.sum(1)
    row = (rows < place[:, :1] * rows[-1]).sum(1).clip(0, m - 1)
    columns = weight[row] @ below.T
    column = (columns < place[:, 1:2] * columns[:, -1:]).sum(1).clip(0, m - 1)
    jitter = (grid[1] - grid[0]) * (place[:, 2:] - 0.5)
    return jnp.stack([jnp.asarray(grid)[column], jnp.asarray(grid)[row]], 1) + jitter


def _texture(white, slope):
    """Gaussian field of unit variance and amplitude k^-slope from white noise (TEXTURE, TEXTURE)."""
    f = np.fft.fftfreq(TEXTURE)[:, None] ** 2 + np.fft.rfftfreq(TEXTURE)[None] ** 2
    k2 = np.maximum(f * TEXTURE**2, 4.0).astype(np.float32)
    field = jnp.fft.irfft2(jnp.fft.rfft2(white) * k2 ** (-0.5 * slope), (TEXTURE, TEXTURE))
    field = field - field.mean()
    return field / field.std()


def _waves(u):
    """Sines and cosines (k, 2 * WAVES) of the longest waves along one axis, u (k,) in scale lengths."""
    angle = u[:, None] * (2 * np.pi / 12 * np.arange(1, WAVES + 1, dtype=np.float32))
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], 1)


def _lookup(field, u, v):
    """Bilinear value of the periodic field at plane coordinates in scale lengths."""
    u, v = jnp.broadcast_arrays(u, v)
    i, j = v * (TEXTURE / EXTENT), u * (TEXTURE / EXTENT)
    i0, j0 = jnp.floor(i), jnp.floor(j)
    fi, fj = i - i0, j - j0
    i0, j0 = i0.astype(jnp.int32) % TEXTURE, j0.astype(jnp.int32) % TEXTURE
    i1, j1 = (i0 + 1) % TEXTURE, (j0 + 1) % TEXTURE
    low, high = ((1 - fj) * field[i, j0] + fj * field[i, j1] for i in (i0, i1))
    return (1 - fi) * low + fi * high
