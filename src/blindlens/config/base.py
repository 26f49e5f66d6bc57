"""What every configuration is: frozen, no key unread, to and from YAML, with named presets."""

import difflib
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import BlindlensError


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


def _in_words(error: ValidationError, root: type[Stage]) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if where[:1] in (["flux_scale"], ["noise_scale"]):
        return f"{where[0]}: give a positive number or 'infer', not {first['input']!r}"
    if where[:1] in (["supersampling"], ["draws"]):
        of = "rays " if where[0] == "supersampling" else ""
        return f"{where[0]}: give a whole number {of}from 1 on, or 'auto', not {first['input']!r}"
    if first["type"] != "extra_forbidden":
        got = "" if isinstance(first["input"], dict) else f", not {first['input']!r}"
        message = first["msg"][:1].lower() + first["msg"][1:]  # names in it keep their capitals
        return f"{'.'.join(where) or 'the whole file'}: {message}{got}"
    known = list(_stage(root, where[:-1]).model_fields)
    near = difflib.get_close_matches(where[-1], known, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
    return f"unknown key {'.'.join(where)!r}; {hint}"


def _stage(stage: type[Stage], path: list[str]) -> type[Stage]:
    """The model at a path of field names."""
    for name in path:
        stage = stage.model_fields[name].annotation  # type: ignore[assignment]
    return stage
