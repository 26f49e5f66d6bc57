"""Every number a run depends on: one frozen model per stage, to and from YAML, with named presets."""

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import BlindlensError


class Stage(BaseModel):
    """A part of the configuration: immutable, and no key passes unread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_mapping(cls, values: Any, origin: str = "the configuration") -> Self:
        """Validate nested plain values; BlindlensError names the first offending key and what it should be."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise BlindlensError(f"{origin}: {_in_words(error, cls)}") from None


class Config(Stage):
    """A whole configuration: to and from YAML, with presets in the package's folder presets/ + `preset_folder`."""

    preset_folder: ClassVar[str] = ""

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """A preset's name, or the path of a YAML file; keys that are left out keep their defaults."""
        path = cls._folder() / f"{name}.yaml" if str(name) in cls.presets() else Path(name)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BlindlensError(f"there is no file {path}; presets are: {', '.join(cls.presets())}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BlindlensError(f"cannot read {path} ({error})") from None
        except yaml.YAMLError as error:
            raise BlindlensError(f"{path} is not YAML ({' '.join(str(error).split())})") from None
        return cls.from_mapping({} if values is None else values, str(path))

    def replace(self, **changes: Any) -> Self:
        """A copy with some top-level fields changed, validated again."""
        return self.from_mapping({**self.model_dump(), **changes}, "the command line")

    def to_yaml(self) -> str:
        """The full configuration; `load` reads the same values back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def presets(cls) -> list[str]:
        """Names of the presets in the package."""
        return sorted(file.stem for file in cls._folder().glob("*.yaml"))

    @classmethod
    def _folder(cls) -> Path:
        return Path(str(resources.files("blindlens") / "presets" / cls.preset_folder))


class LensConfig(Stage):
    """The mass model: its components, and prior ranges that differ from the defaults, {name: [low, high]}."""

    mass: tuple[str, ...] = ("epl", "shear", "multipole3")
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)


class InitialiseConfig(Stage):
    """The cold start: prior draws ranked, the best climb while the noise is annealed, distinct modes are polished."""

    draws: int = Field(default=2000, ge=1, description="lenses drawn from the prior")
    starts: int = Field(default=16, ge=1, description="of these, the best climb")
    noise: float = Field(default=10.0, ge=1, description="the noise is first multiplied by this")
    steps: int = Field(default=150, ge=1, description="ascent steps")
    rate: float = Field(default=0.1, gt=0, description="step size in normal coordinates")
    polish_steps: int = Field(default=20, ge=1, description="Levenberg-Marquardt steps with the full evidence")
    keep: int = Field(default=8, ge=1, description="distinct modes kept")
    pixels: int = Field(default=64, ge=8, description="pixels a side to which larger images are binned at first")
    rank: int = Field(default=40, ge=1, description="eigen-galaxies of the cheap evidence")
    tail: float = Field(default=4.0, gt=0, description="information on the source (nats, twice) that may be left out")
    most_rank: int = Field(default=192, ge=1, description="directions of the source that follow the lens at the most")
    within: float = Field(default=30.0, gt=0, description="modes this many nats below the best are dropped")


class SplitGibbsConfig(Stage):
    """The joint sampler for Gaussian priors."""

    warmup: int = Field(default=64, ge=1, description="sweeps before the first draw")
    thin: int = Field(default=2, ge=1, description="sweeps per draw")
    local_every: int = Field(default=2, ge=1, description="sweeps from one Hamiltonian move of the lens to the next")
    leaps: int = Field(default=3, ge=1, description="of a Hamiltonian move; one gradient more")
    jumps: int = Field(default=2, ge=1, description="independent lens proposals a sweep, from the mixture of all modes")
    translations: int = Field(default=1, ge=0, description="moves of the source by a whole pixel a sweep")
    bias: float = Field(default=0.02, gt=0, description="rho^2 lambda_max(A A^T): greatest excess noise")
    cg_tolerance: float = Field(default=1e-4, gt=0, description="of z | x, l")
    cg_steps: int = Field(default=100, ge=1, description="of z | x, l, at the most")


class RenoiseConfig(Stage):
    """The joint sampler for priors that are not Gaussian. Noise is in model units."""

    warmup: int = Field(default=12, ge=1, description="sweeps before the first draw")
    thin: int = Field(default=1, ge=1, description="sweeps per draw")
    first: float = Field(default=2.0, gt=0, description="noise from which a sweep starts at the most")
    last: float = Field(default=0.1, gt=0, description="least noise at which the lens moves")
    levels: int = Field(default=2, ge=2, description="noise levels at which it does, spread evenly in their logarithm")
    end: float = Field(default=0.01, gt=0, description="noise at which the diffusion ends")
    misfit: float = Field(
        default=0.05, gt=0, description="share by which chi2 of the mean source at `first` may exceed that at `last`"
    )
    rank: int = Field(default=128, ge=1, description="directions of the source that follow the lens at the most")
    krylov: int = Field(default=48, ge=0, description="further ones, by what is left of the image")
    translations: int = Field(default=2, ge=0, description="moves of the source by a whole pixel a level")
    climb: int = Field(default=2, ge=1, description="Levenberg-Marquardt steps to the lens's local mode")
    moves: int = Field(default=1, ge=1, description="Hamiltonian moves of the lens a level")
    leaps: int = Field(default=6, ge=1, description="of a Hamiltonian move; one gradient more")
    steps: int = Field(default=4, ge=1, description="of the diffusion from one level to the next, 2 denoisers each")

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if not self.first > self.last > self.end:
            raise ValueError("noise must fall from `first` over `last` to `end`")
        return self


class EvidenceConfig(Stage):
    """The exact oracle for a Gaussian prior: SMC and NUTS on the evidence, then the source given the lens."""

    moves: int = Field(default=3, ge=1, description="rounds of moves of every draw after the SMC")


class RunConfig(Config):
    """One run of `infer`."""

    method: Literal["joint", "evidence"] = Field(
        default="joint", description="joint: split_gibbs for a Gaussian prior, renoise for another; or the exact oracle"
    )
    prior: str = Field(default="galaxy-gaussian", description="a prior's name in the package, or a path")
    source_fov: float | None = Field(
        default=None, gt=0, description="source field in arcsec; null: chosen from the data"
    )
    flux_scale: Annotated[float, Field(gt=0)] | Literal["infer"] = "infer"
    lens_light: Literal["none", "mge"] = "none"
    trim: bool = Field(default=True, description="use the central part of the image only, where the source can be seen")
    bin: int = Field(default=1, ge=1, description="pixels a side averaged into one beforehand")
    supersampling: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="rays per image pixel and side; auto: a source pixel apart at most, up to 4",
    )
    interpolation: Literal["bilinear", "cubic"] = Field(default="cubic", description="of the source between its pixels")
    surrogate: str = Field(default="galaxy-gaussian", description="Gaussian for the cold start, if the prior is none")
    draws: int = Field(default=64, ge=1, description="draws per chain")
    chains: int = Field(default=4, ge=1)
    seed: int = Field(default=0, ge=0)
    lens: LensConfig = LensConfig()
    initialise: InitialiseConfig = InitialiseConfig()
    split_gibbs: SplitGibbsConfig = SplitGibbsConfig()
    renoise: RenoiseConfig = RenoiseConfig()
    evidence: EvidenceConfig = EvidenceConfig()


def presets() -> list[str]:
    """Names of the presets of `infer` in the package."""
    return RunConfig.presets()


def _in_words(error: ValidationError, root: type[Stage]) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if where[:1] == ["flux_scale"]:
        return f"flux_scale: give a positive number or 'infer', not {first['input']!r}"
    if where[:1] == ["supersampling"]:
        return f"supersampling: give a whole number of rays from 1 on, or 'auto', not {first['input']!r}"
    if first["type"] != "extra_forbidden":
        got = "" if isinstance(first["input"], dict) else f", not {first['input']!r}"
        return f"{'.'.join(where) or 'the whole file'}: {first['msg'].lower()}{got}"
    known = list(_stage(root, where[:-1]).model_fields)
    near = difflib.get_close_matches(where[-1], known, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
    return f"unknown key {'.'.join(where)!r}; {hint}"


def _stage(stage: type[Stage], path: list[str]) -> type[Stage]:
    """The model at a path of field names."""
    for name in path:
        stage = stage.model_fields[name].annotation  # type: ignore[assignment]
    return stage
