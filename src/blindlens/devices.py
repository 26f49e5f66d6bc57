"""How JAX uses this machine when the command line runs it."""

import contextlib
import os
from pathlib import Path


def prepare_jax() -> None:
    """One device a core, so that chains run side by side, and compiled programs kept; unless the user has said else."""
    import jax

    if jax.config.jax_num_cpu_devices < 1:  # type: ignore[attr-defined]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # called from a program in which JAX has started, it stays as it is
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores)
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "blindlens" / "xla"))
