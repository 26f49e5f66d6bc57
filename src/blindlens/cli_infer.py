"""Commands on an image: its posterior, and the evidence for another mass model."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from . import cli_answers
from .config import LensLightName, Method, RunConfig
from .devices import prepare_jax
from .errors import BlindlensError, Interrupted
from .observation import Observation
from .progress import Progress
from .storage import write_text


def infer(
    image: Path,
    *,
    noise: Path | None = None,
    psf: Path | None = None,
    mask: Path | None = None,
    pixel_scale: float | None = None,
    background_rms: float | None = None,
    exposure: float | None = None,
    gain: float | None = None,
    psf_oversampling: int | None = None,
    centre: tuple[float, float] | None = None,
    size: float | None = None,
    contaminants: Literal["mask", "keep"] | None = None,
    prior: str | None = None,
    config: str = "default",
    method: Method | None = None,
    source_fov: float | None = None,
    lens_light: LensLightName | None = None,
    noise_scale: float | Literal["infer"] | None = None,
    init: str | None = None,
    lens_params: Path | None = None,
    guidance: Literal["mmps", "pigdm", "cla", "dps"] | None = None,
    draws: int | None = None,
    seed: int | None = None,
    z_lens: float | None = None,
    z_source: float | None = None,
    zero_point: float | None = None,
    north_up: bool | None = None,
    out: Path | None = None,
) -> None:
    """Draw samples of lens and source from IMAGE.

    Parameters
    ----------
    image
        FITS file, alone or with NOISE, PSF and MASK extensions.
    noise
        FITS file of the standard deviation per pixel (an extension named WHT or IVAR: of the inverse variance).
    psf
        FITS file of the point-spread function; it is normalised.
    mask
        FITS file, non-zero where a pixel is used; it replaces the search for neighbours.
    pixel_scale
        Arcsec per pixel, if the header does not say or is wrong.
    background_rms
        Standard deviation of the empty sky in the image's units, in place of a noise map.
    exposure
        Seconds, if the image is in counts per second: adds photon noise to the background's.
    gain
        Electrons per count, 1 unless given: adds photon noise to the background's.
    psf_oversampling
        How many times finer than the image the PSF is sampled, 1 unless given.
    centre
        Pixel (x y) on which the lens lies, counted from 1 as in DS9, if not in the middle of the image.
    size
        Side in arcsec of the part about the centre that is used, by default as far as the nearest border.
    contaminants
        Mask neighbours found far from the lens (the default), or keep them.
    prior
        A prior's name in the package, or a path: galaxy64, a score model of galaxies, unless given; galaxy-gaussian is
        faster.
    config
        A YAML file, or a preset: default, fast, paper.
    method
        The joint sampler, its kind for score priors whatever the prior (renoise), a slower one with fewer
        approximations to check that by (latent), that of arXiv:2511.04792 (gibbsddrm), the exact evidence of a Gaussian
        prior, or a baseline to compare with (blind-dps, fast-em, bird).
    source_fov
        Side of the source's field in arcsec; by default chosen from the data.
    lens_light
        The lens galaxy's own light: none, mge (a multi-Gaussian expansion), mge2 (two of them), sersic; by default
        auto: mge2 if the image is brightest at its centre.
    noise_scale
        Factor on the noise map, or infer: a parameter of the model.
    init
        Where to begin: low-rank (a cold start), sersic-adam (a Sersic source), or a file of lens parameters.
    lens_params
        File of a known lens's parameters: the posterior of the source alone is drawn.
    guidance
        How the prior is told of the data then.
    draws
        Draws per chain, by default 64, or 24 of the joint sampler for priors that are no Gaussians.
    seed
        Of all random numbers.
    z_lens
        Redshift of the lens: with that of the source, results in kpc and solar masses too.
    z_source
        Redshift of the source.
    zero_point
        AB magnitude of one data unit.
    north_up
        North is up and east left in an image without WCS.
    out
        Folder of the results, by default named after the image.
    """
    command = _command("infer", locals())
    prepare_jax()
    given = {
        "prior": prior,
        "method": method,
        "source_fov": source_fov,
        "lens_light": lens_light,
        "contaminants": contaminants,
        "noise_scale": noise_scale,
        "lens_params": lens_params,
        "draws": draws,
        "seed": seed,
    }
    run = RunConfig.load(config).replace(**{key: value for key, value in given.items() if value is not None})
    if init is not None:
        run = run.replace(initialise={**run.initialise.model_dump(), "method": init})
    physics = cli_answers.given(z_lens, z_source, None, zero_point, north_up)
    run = run.replace(physics=run.physics.model_dump() | physics)
    if guidance is not None:
        if run.lens_params is None:
            raise BlindlensError("--guidance is for a known lens: give --lens-params FILE as well")
        source = run.source.model_dump()
        run = run.replace(source={**source, "guidance": {**source["guidance"], "method": guidance}})
    if mask is not None and contaminants is None:
        run = run.replace(contaminants="keep")  # the user's mask has the last word
    observation = Observation.from_fits(
        image,
        noise,
        psf,
        mask,
        pixel_scale,
        background_rms=background_rms,
        exposure=exposure,
        gain=gain,
        psf_oversampling=1 if psf_oversampling is None else psf_oversampling,
    )
    if centre is not None or size is not None:
        middle = [(n + 1) / 2 for n in reversed(observation.shape)]
        observation = observation.centred_on(*(centre or middle), size)
    out = Path(f"{observation.name}-blindlens") if out is None else out
    write_text(out / "config.yaml", run.to_yaml())
    progress = Progress(Console(stderr=True))
    for note in observation.notes:
        progress.say(f"note: {note}")
    given_by = "" if mask is None else f" (non-zero in {mask})"
    progress.say(f"{observation.n_used} of {observation.mask.size} pixels are used{given_by}")

    from .inference.pipeline import infer as run_inference
    from .prior import load_prior

    try:
        posterior = run_inference(
            observation,
            prior=load_prior(run.prior),
            config=run,
            out=out,
            progress=progress,
        )
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: what is done is kept in {out}; the same command resumes") from None
    posterior.tree.attrs["command"] = command
    posterior.save(out / "posterior.nc")
    cli_answers.write_results(posterior, out, progress)


def _command(name: str, arguments: dict[str, object]) -> str:
    """The line that calls a command with these arguments, those that are None left out; the first is positional."""
    (_, first), *options = arguments.items()
    words = ["blindlens", name, str(first)]
    for key, value in ((key.replace("_", "-"), value) for key, value in options if value is not None):
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        else:
            words += [f"--{key}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def compare(
    image: Path,
    *,
    extra: Annotated[tuple[str, ...], Parameter(name="--with", consume_multiple=True)],
    noise: Path | None = None,
    psf: Path | None = None,
    mask: Path | None = None,
    pixel_scale: float | None = None,
    config: str = "default",
    z_lens: float | None = None,
    z_source: float | None = None,
    seed: int | None = None,
    out: Path | None = None,
) -> None:
    """Do the data ask for more components of the mass? Delta log evidence, with an error, under a Gaussian prior.

    docs/mass_models.md lists the components; docs/subhalo.md says what the figures are worth.

    Parameters
    ----------
    image
        As in infer, and so are NOISE, PSF, MASK and PIXEL-SCALE.
    extra
        Components beside the configuration's lens.mass, such as nfw_subhalo or multipole4.
    config
        A YAML file, or a preset.
    z_lens
        Redshift of the lens, for components that are told by their mass.
    z_source
        Redshift of the source.
    seed
        Of all random numbers.
    out
        Folder that receives compare.json, by default named after the image.
    """
    prepare_jax()
    run = RunConfig.load(config)
    given = {"z_lens": z_lens, "z_source": z_source}
    run = run.replace(lens={**dict(run.lens), **{key: value for key, value in given.items() if value is not None}})
    run = run if seed is None else run.replace(seed=seed)
    if mask is not None:
        run = run.replace(contaminants="keep")  # the user's mask has the last word
    observation = Observation.from_fits(image, noise, psf, mask, pixel_scale)
    out = Path(f"{observation.name}-blindlens") if out is None else out
    progress = Progress(Console(stderr=True))

    from .inference.compare import compare as run_comparison

    found = run_comparison(observation, extra, config=run, out=out, progress=progress)
    for warning in found.warnings():
        progress.say(f"warning: {warning}")
    progress.say(found.words())
