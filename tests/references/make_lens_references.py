"""Deflections and images from caustics and lenstronomy, the references of tests/lens: writes lens.npz beside itself.

Run with the `oracle` extra installed: python tests/references/make_lens_references.py. Nothing here comes from
blindlens: parameters are drawn by NumPy, everything is float64 until the images are stored.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve
from scipy.special import gammaincinv

NPIX, SCALE = 64, 12 / 64
SOURCE_NPIX, FOV = 64, 6.24
LENS = ("x0", "y0", "q", "phi", "Rein", "t", "gamma_1", "gamma_2", "a_3", "phi_3", "xs", "ys")
SERSIC = ("I_e", "n", "R_e", "q", "phi", "x0", "y0")


def draw_lens(rng) -> dict[str, float]:
    low = [-0.2, -0.2, 0.6, 0, 0.8, 0.8, -0.1, -0.1, 0, 0, -0.35, -0.35]
    high = [0.2, 0.2, 1.0, np.pi, 2.2, 1.2, 0.1, 0.1, 0.02, 2 * np.pi / 3, 0.35, 0.35]
    return dict(zip(LENS, rng.uniform(low, high), strict=True))


def draw_sersic(rng, p) -> dict[str, float]:
    low, high = [0.5, 0.8, 0.3, 0.5, 0], [2.0, 2.5, 0.8, 0.95, np.pi]
    return dict(zip(SERSIC, [*rng.uniform(low, high), p["xs"], p["ys"]], strict=True))


def gaussian_psf(fwhm=0.375, half=4) -> np.ndarray:
    r = np.arange(-half, half + 1) * SCALE
    g = np.exp(-4 * np.log(2) * r**2 / fwhm**2)
    return np.outer(g, g) / g.sum() ** 2


def pixel_source(rng) -> np.ndarray:
    """A lopsided blob with knots; zero at the border, where caustics' interpolation would extrapolate."""
    v, u = np.mgrid[:SOURCE_NPIX, :SOURCE_NPIX] - (SOURCE_NPIX - 1) / 2
    image = np.zeros_like(u)
    for _ in range(12):
        cu, cv = rng.normal(0, 5, 2)
        w = rng.uniform(1.0, 5.0)
        image += rng.uniform(0.2, 1.5) * np.exp(-((u - cu) ** 2 + (v - cv) ** 2 / 2) / (2 * w**2))
    image[[0, 1, -2, -1]] = image[:, [0, 1, -2, -1]] = 0
    return image.astype(np.float32).astype(np.float64)


def rays(supersampling=1):
    """Ray positions of the image grid, (supersampling * NPIX,) squared, arcsec."""
    n = NPIX * supersampling
    axis = (np.arange(n) - (n - 1) / 2) * SCALE / supersampling
    return np.meshgrid(axis, axis)


def sersic_b(n):
    return gammaincinv(2 * n, 0.5)


# --- caustics ---------------------------------------------------------------------------------------------------


def caustics_lens(p):
    import caustics
    import torch

    cosmology = caustics.FlatLambdaCDM(name="cosmology")
    # caustics falls back to float32 for parameters given as plain numbers
    v = {k: torch.tensor(x, dtype=torch.float64) for k, x in p.items()}
    zero = torch.tensor(0.0, dtype=torch.float64)
    parts = [
        caustics.EPL(cosmology, x0=v["x0"], y0=v["y0"], q=v["q"], phi=v["phi"], Rein=v["Rein"], t=v["t"], n_iter=60),
        caustics.ExternalShear(cosmology, x0=zero, y0=zero, gamma_1=v["gamma_1"], gamma_2=v["gamma_2"]),
        caustics.Multipole(cosmology, m=(3,), x0=v["x0"], y0=v["y0"], a_m=v["a_3"][None], phi_m=v["phi_3"][None]),
    ]
    return caustics.SinglePlane(cosmology, parts, z_l=0.5, z_s=1.0).to(dtype=torch.float64)


def caustics_deflection(p, x, y):
    import torch

    ax, ay = caustics_lens(p).reduced_deflection_angle(torch.tensor(x), torch.tensor(y))
    return np.stack([ax.numpy(), ay.numpy()])


def caustics_image(p, source, psf):
    """One ray per pixel; `source`: Sersic parameters, or an image on the field FOV centred on (xs, ys).

    caustics lights the border from outside the image, so the `half` pixels beside it are not comparable.
    """
    import caustics
    import torch

    if isinstance(source, dict):
        n = source["n"]
        b = sersic_b(n)
        # caustics' b_n is approximate and its radius runs along the major axis: the same profile in its terms
        k = 1.9992 * n - 0.3271
        values = {a: source[a] for a in ("x0", "y0", "q", "phi", "n")}
        values |= {"Re": source["R_e"] * (k / b) ** n / np.sqrt(source["q"]), "Ie": source["I_e"] * np.exp(b - k)}
        values = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        light = caustics.Sersic(use_lenstronomy_k=True, **values)
    else:
        light = caustics.Pixelated(
            image=torch.tensor(source), x0=torch.tensor(p["xs"]), y0=torch.tensor(p["ys"]),
            pixelscale=torch.tensor(FOV / SOURCE_NPIX, dtype=torch.float64), shape=source.shape,
        )  # fmt: skip
    simulator = caustics.LensSource(
        caustics_lens(p), light.to(dtype=torch.float64), pixelscale=SCALE, pixels_x=NPIX, psf=torch.tensor(psf),
        psf_mode="conv2d",
    )  # fmt: skip
    return simulator.to(dtype=torch.float64)().detach().numpy()


# --- lenstronomy ------------------------------------------------------------------------------------------------


def lenstronomy_lens(p):
    e = (1 - p["q"]) / (1 + p["q"])
    centre = {"center_x": p["x0"], "center_y": p["y0"]}
    epl = {"theta_E": p["Rein"], "gamma": p["t"] + 1, "e1": e * np.cos(2 * p["phi"]), "e2": e * np.sin(2 * p["phi"])}
    multipole = {"m": 3, "a_m": p["a_3"], "phi_m": p["phi_3"]}
    return ["EPL", "SHEAR", "MULTIPOLE"], [
        epl | centre,
        {"gamma1": p["gamma_1"], "gamma2": p["gamma_2"]},
        multipole | centre,
    ]


def lenstronomy_deflection(p, x, y):
    from lenstronomy.LensModel.lens_model import LensModel

    names, kwargs = lenstronomy_lens(p)
    return np.stack(LensModel(names).alpha(x, y, kwargs))


def lenstronomy_image(p, source, psf, supersampling=2):
    """supersampling^2 rays per pixel, PSF at the pixel scale; surface brightness, arguments as caustics_image."""
    from lenstronomy.Data.imaging_data import ImageData
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    names, kwargs = lenstronomy_lens(p)
    if isinstance(source, dict):
        n, b = source["n"], sersic_b(source["n"])
        k = 1.9992 * n - 0.3271
        e = (1 - source["q"]) / (1 + source["q"])
        light, light_kwargs = "SERSIC_ELLIPSE", {
            "amp": source["I_e"] * np.exp(b - k), "R_sersic": source["R_e"] * (k / b) ** n, "n_sersic": n,
            "e1": e * np.cos(2 * source["phi"]), "e2": e * np.sin(2 * source["phi"]),
            "center_x": source["x0"], "center_y": source["y0"],
        }  # fmt: skip
    else:
        light, light_kwargs = "INTERPOL", {
            "image": source, "amp": 1.0, "center_x": p["xs"], "center_y": p["ys"], "phi_G": 0.0,
            "scale": FOV / SOURCE_NPIX,
        }  # fmt: skip
    edge = -(NPIX - 1) / 2 * SCALE
    data = ImageData(np.zeros((NPIX, NPIX)), ra_at_xy_0=edge, dec_at_xy_0=edge,
                     transform_pix2angle=SCALE * np.eye(2))  # fmt: skip
    model = ImageModel(
        data,
        PSF(psf_type="PIXEL", kernel_point_source=psf),
        LensModel(names),
        LightModel([light]),
        kwargs_numerics={"supersampling_factor": supersampling, "supersampling_convolution": False},
    )
    # The unconvolved image, so that the convolution is exact to rounding: lenstronomy's own may cut the kernel
    plain = model.image(kwargs, [light_kwargs], unconvolved=True) / SCALE**2
    return fftconvolve(plain, psf, mode="same")


def main():
    rng = np.random.default_rng(20)
    lenses = [draw_lens(rng) for _ in range(16)]
    x, y = rng.uniform(-6, 6, (2, 128))
    out = {
        "names": np.array(LENS),
        "lenses": np.array([[p[k] for k in LENS] for p in lenses]),
        "rays": np.stack([x, y]),
        "caustics_deflection": np.array([caustics_deflection(p, x, y) for p in lenses]),
        "lenstronomy_deflection": np.array([lenstronomy_deflection(p, x, y) for p in lenses]),
        "versions": np.array([f"{k} {version(k)}" for k in ("caustics", "lenstronomy", "torch", "numpy", "scipy")]),
    }
    difference = out["caustics_deflection"] - out["lenstronomy_deflection"]
    print("caustics against lenstronomy: rms", np.sqrt(np.mean(difference**2)), "worst", np.abs(difference).max())

    systems, psf = lenses[:2], gaussian_psf()
    sersics = [draw_sersic(rng, p) for p in systems]
    pixels = pixel_source(rng)
    out |= {"psf": psf, "pixel_scale": SCALE, "fov": FOV, "pixel_source": pixels.astype(np.float32),
            "sersic_names": np.array(SERSIC),
            "sersics": np.array([[s[k] for k in SERSIC] for s in sersics])}  # fmt: skip
    for name, image in (("caustics", caustics_image), ("lenstronomy", lenstronomy_image)):
        out[f"{name}_sersic"] = np.array([image(p, s, psf) for p, s in zip(systems, sersics, strict=True)], np.float32)
        out[f"{name}_pixels"] = np.array([image(p, pixels, psf) for p in systems], np.float32)
    path = Path(__file__).with_name("lens.npz")
    np.savez_compressed(path, **out)
    print(path.name, path.stat().st_size, "bytes", *out["versions"])


if __name__ == "__main__":
    main()
