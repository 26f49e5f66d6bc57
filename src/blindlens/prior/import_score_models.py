"""Weights trained with the PyTorch package score_models (0.5.11), which the paper's authors publish and use."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import ValidationError

from ..errors import BlindlensError
from .networks.layers import Attention, Combine, Conv, Dense, Fourier, GroupNorm
from .networks.ncsnpp import Block, NCSNpp, NCSNppConfig

HYPERPARAMETERS = "model_hparams.json"
# score_models' own defaults, where they differ from ours: its file holds what a user passed, and perhaps no more
DEFAULTS = {"nf": 128, "ch_mult": (2, 2, 2, 2), "num_res_blocks": 2}
# What the file may say of things that we have in one form only
FIXED = {
    "model_architecture": ("ncsnpp",),
    "channels": (1,),
    "dimensions": (2,),
    "resblock_type": ("biggan",),  # the other, ddpm, is a TypeError in 0.5.11
    "condition": (["None"], ["none"], None),
    "condition_num_embedding": (None,),
    "condition_input_channels": (None, 0),
    "condition_vector_channels": (None,),
    "sde": ("ve", "vesde"),
    "T": (1,),
    "epsilon": (0,),
}
# What changes nothing in a trained network: `resample_with_conv` concerns ddpm blocks, `dropout` training;
# `num_blocks` is the paper's word, which score_models files away unread: it builds `num_res_blocks`.
WITHOUT_EFFECT = ("dropout", "resample_with_conv", "num_blocks", "device", "checkpoints_directory", "model_checkpoint")
# Our names of a module's parts and theirs
PARTS = {
    "norm_0": "GroupNorm_0",
    "conv_0": "Conv_0.conv",
    "dense": "Dense_0",
    "norm_1": "GroupNorm_1",
    "conv_1": "Conv_1.conv",
    "shortcut": "Conv_2.conv",
    "project": "Conv_0.conv",
    "to_qkv": "to_qkv",
    "to_out": "to_out",
    "w": "W",
}
MODULES = (Attention, Block, Combine, Conv, Dense, Fourier, GroupNorm)


def import_score_models(path: str | Path) -> tuple[NCSNpp, dict]:
    """The network of a score_models checkpoint, and {"sigma_min", "sigma_max", "checkpoint", "hyperparameters"}.

    path: the folder with model_hparams.json and checkpoint_<loss>_<number>.pt, of which the highest number is taken
    as score_models does, or one of those .pt files. score_models stores the exponential moving average of the weights
    (the raw ones are not kept), so these are they. sigma(t) = sigma_min (sigma_max / sigma_min)^t.

    Raises BlindlensError without torch; for missing or damaged files; for hyper-parameters that are unknown or not
    supported here (other SDEs, conditions, channels, dimensions, residual pyramids); and for tensors that are missing,
    left over, of another shape or not finite.
    """
    file = _checkpoint(Path(path))
    config, sde, raw = _hyperparameters(file.parent / HYPERPARAMETERS)
    tensors = _tensors(file)
    skeleton = NCSNpp.init(jax.random.key(0), config)
    names = tensor_names(skeleton)
    missing, left_over = sorted(set(names) - set(tensors)), sorted(set(tensors) - set(names))
    for fault, some in (("lacks", missing), ("has, beyond the network,", left_over)):
        if some:
            more = f" and {len(some) - 3} more" if len(some) > 3 else ""
            raise BlindlensError(
                f"{file} {fault} {', '.join(some[:3])}{more}: {HYPERPARAMETERS} beside it is of another network "
                "(the number of blocks is num_res_blocks, 2 if it's not there)"
            )
    leaves, structure = jax.tree.flatten(skeleton)
    arrays = []
    for name, leaf in zip(names, leaves, strict=True):
        tensor = tensors[name]
        if tensor.ndim == 4:  # (out, in, k, k) there, (k, k, in, out) here
            tensor = tensor.transpose(2, 3, 1, 0)
        if tensor.shape != leaf.shape:
            raise BlindlensError(f"{file}: tensor {name} has shape {tensor.shape}, not {leaf.shape}")
        if not np.isfinite(tensor).all():
            raise BlindlensError(f"{file}: tensor {name} has values that are not finite; take another checkpoint")
        arrays.append(jnp.asarray(tensor, leaf.dtype))
    return jax.tree.unflatten(structure, arrays), sde | {"checkpoint": file.name, "hyperparameters": raw}


def tensor_names(network: NCSNpp) -> list[str]:
    """score_models' names of the network's arrays, in the order of `jax.tree.leaves`."""
    modules = jax.tree.leaves(network, is_leaf=lambda part: isinstance(part, MODULES))
    names = []
    for number, module in enumerate(modules):
        for path, _ in jax.tree.leaves_with_path(module):
            parts = [PARTS.get(key.name, key.name) for key in path]
            if isinstance(module, Conv):
                parts.insert(0, "conv")
            names.append(".".join(["all_modules", str(number), *parts]))
    return names


def _checkpoint(path: Path) -> Path:
    if path.is_file():
        return path
    numbered = {int(re.findall("[0-9]+", file.stem)[-1]): file for file in path.glob("checkpoint*[0-9].pt")}
    if not numbered:
        raise BlindlensError(f"{path} is no folder with score_models' checkpoint_<loss>_<number>.pt, nor such a file")
    return numbered[max(numbered)]


def _hyperparameters(file: Path) -> tuple[NCSNppConfig, dict[str, float], dict]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        given = dict(raw)
    except (OSError, ValueError, TypeError) as error:
        raise BlindlensError(f"cannot read score_models' hyper-parameters {file} ({error})") from None
    for name, allowed in FIXED.items():
        value = given.pop(name, allowed[0])
        if (value.lower() if isinstance(value, str) else value) not in allowed:
            raise BlindlensError(f"{file}: {name} = {value!r} is not supported, only {allowed[0]!r}")
    for name in WITHOUT_EFFECT:
        given.pop(name, None)
    try:
        sde = {name: float(given.pop(name)) for name in ("sigma_min", "sigma_max")}
    except (KeyError, TypeError, ValueError) as error:
        raise BlindlensError(f"{file}: sigma_min and sigma_max must be numbers ({error})") from None
    if not 0 < sde["sigma_min"] < sde["sigma_max"]:
        raise BlindlensError(f"{file}: needs 0 < sigma_min < sigma_max, not {sde['sigma_min']} and {sde['sigma_max']}")
    unknown = sorted(set(given) - set(NCSNppConfig.model_fields))
    if unknown:
        raise BlindlensError(
            f"{file}: unknown hyper-parameter {', '.join(unknown)}; score_models ignores words it doesn't know, so "
            "remove it from that file if it means nothing"
        )
    try:
        return NCSNppConfig(**{**DEFAULTS, **given}), sde, raw
    except ValidationError as error:
        first = error.errors()[0]
        raise BlindlensError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _tensors(file: Path) -> dict[str, np.ndarray]:
    """NumPy arrays by score_models' names; nothing but tensors is unpickled."""
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError:
        raise BlindlensError("reading a score_models checkpoint needs PyTorch: pip install torch") from None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        arrays = {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    except Exception as error:  # torch has a dozen kinds of them for a damaged or foreign file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BlindlensError(f"{file} is not a readable score_models checkpoint ({reason})") from None
    # a whole ScoreModel may have been saved rather than its network
    return {name.removeprefix("model."): array for name, array in arrays.items()}
