"""Procedural galaxies and their structure, stamps a second: python benchmarks/galaxies_speed.py [npix]."""

import sys
import time

from blindlens.prior.galaxies import BATCH, galaxies
from blindlens.prior.structure import structure

npix = int(sys.argv[1]) if len(sys.argv) > 1 else 64
start = time.perf_counter()
galaxies(0, BATCH, npix)
first = time.perf_counter() - start
start = time.perf_counter()
stamps = galaxies(1, 512, npix)
painting = time.perf_counter() - start
start = time.perf_counter()
structure(stamps)
measuring = time.perf_counter() - start
print(f"{npix} x {npix}: {512 / painting:.0f} galaxies/s after {first:.1f} s for the first {BATCH}")
print(f"structure of {512 / measuring:.0f} a second")
