"""Lenses of caustics as a component; the tests with the package run where it is installed (-m oracle)."""

import os
import subprocess
import sys

import pytest

from blindlens.errors import BlindlensError
from blindlens.lens.caustics_mass import CausticsMass
from blindlens.lens.mass import LensModel

RANGES = {"x0": (-0.2, 0.2), "y0": (-0.2, 0.2), "q": (0.6, 1.0), "Rein": (0.8, 1.5), "t": (0.8, 1.2)}
YAML = """
cosmology: &cosmology
  name: cosmology
  kind: FlatLambdaCDM
lens:
  kind: EPL
  init_kwargs: {cosmology: *cosmology, z_l: 0.5, z_s: 1.0}
"""

INFERENCE = """
import sys
import numpy as np
import jax, jax.numpy as jnp
from conftest import TINY_CONFIG
from blindlens.inference.evidence import Evidence
from blindlens.inference.problem import build_problem
from blindlens.lens.caustics_mass import CausticsMass, _caustics
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import load_prior
RANGES, path = eval(sys.argv[1]), sys.argv[2]
caustics = _caustics()
shear = {"gamma_1": (-0.1, 0.1), "gamma_2": (-0.1, 0.1)}
ours = LensModel(("epl", "shear"), RANGES)
cosmology = caustics.FlatLambdaCDM(name="cosmology")
parts = [caustics.EPL(cosmology=cosmology, name="epl"),
         caustics.ExternalShear(cosmology=cosmology, x0=0.0, y0=0.0, name="shear")]
plane = caustics.SinglePlane(cosmology=cosmology, lenses=parts, z_l=0.5, z_s=1.0, name="plane")
theirs = [LensModel((f"caustics:{path}", "shear"), RANGES), LensModel((CausticsMass(plane, RANGES | shear),))]
for model in theirs:
    assert set(model.space.names) == set(ours.space.names), model.space.names
    with jax.enable_x64(True):
        x, y = jax.random.uniform(jax.random.key(1), (2, 300), minval=-3.0, maxval=3.0)
        for k in range(3):
            p = ours.space.sample(jax.random.key(k))
            a, b = (jnp.stack(m.deflection(p, x, y)) for m in (ours, model))
            assert jnp.abs(a - b).max() < 1e-8, jnp.abs(a - b).max()
prior = load_prior("galaxy-gaussian", 8)
made = simulate(jax.random.key(2), np.asarray(10 * prior.sample(jax.random.key(0), (1,))), ours, shape=(14, 14),
                pixel_scale=0.4, fov=3.0, sigma=1.0)[0]
p = {k: jnp.float32(v) for k, v in made.truth.items()}
found = []
for model in (ours, *theirs):
    problem = build_problem(made.observation, prior, model, TINY_CONFIG, 3.0)
    evidence = Evidence(problem, prior.basis, prior.mean)
    eta = model.space.to_normal(p)
    value, gradient = jax.jit(jax.value_and_grad(evidence.log_posterior))(eta)
    order = np.concatenate([np.arange(s, s + b.size) for n in ours.space.names
                            for b, s in [model.space.block(n)] if n == b.names[0]])
    found.append((float(value), np.asarray(gradient)[order]))
for value, gradient in found[1:]:
    assert abs(value - found[0][0]) < 0.02, (value, found[0][0])
    np.testing.assert_allclose(gradient, found[0][1], atol=2e-3 * np.abs(gradient).max())
print("agree")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lens.yaml"
    path.write_text(YAML)
    return path


@pytest.mark.oracle
def test_caustics_gives_our_deflections_and_our_evidence_with_its_gradient(file):
    """In a process of its own: the backend is chosen when caustics is imported, and other tests want PyTorch."""
    pytest.importorskip("caustics")
    environment = {**os.environ, "CASKADE_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(["tests", *sys.path])}
    command = [sys.executable, "-W", "ignore", "-c", INFERENCE, repr(RANGES), str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "agree" in done.stdout, done.stderr[-2000:]


class Parameter:
    def __init__(self, name, module, units="arcsec"):
        self.name, self.parents, self.units = name, {module}, units


class Module:
    def __init__(self, name):
        self.name = name


class Lens:
    """What the adapter uses of a caustics lens."""

    def __init__(self):
        one, two = Module("one"), Module("two")
        named = [("x0", one), ("q", one), ("phi", one), ("x0", two), ("mass", two)]
        self.dynamic_params = [Parameter(name, module) for name, module in named]
        self.asked = None

    def reduced_deflection_angle(self, x, y, params):
        self.asked = params
        return params[0] + 0 * x, params[3] + 0 * y


def test_parameters_of_two_modules_keep_apart_and_arrive_in_caustics_order():
    ranges = {"one_x0": (-0.2, 0.2), "two_x0": (-1.0, 1.0), "q": (0.5, 1.0), "mass": (1.0, 2.0)}
    lens = Lens()
    model = LensModel((CausticsMass(lens, ranges), "shear"), {})
    assert model.space.names == ("one_x0", "q", "phi", "two_x0", "mass", "gamma_1", "gamma_2", "xs", "ys")
    p = {"one_x0": 0.1, "q": 0.7, "phi": 0.3, "two_x0": 0.4, "mass": 1.5, "gamma_1": 0.0, "gamma_2": 0.0}
    ax, ay = model.deflection(p, *(__import__("jax").numpy.ones((2, 3))))
    assert [round(float(v), 6) for v in lens.asked] == [0.1, 0.7, 0.3, 0.4, 1.5]
    assert ax.shape == (3,) and abs(float(ax[0]) - 0.1) < 1e-6 and abs(float(ay[0]) - 0.4) < 1e-6
    with pytest.raises(BlindlensError, match="parameter two_x0: give its prior range in lens.ranges"):
        CausticsMass(Lens(), {k: v for k, v in ranges.items() if k != "two_x0"})
    with pytest.raises(BlindlensError, match="multipole3 needs a main component with the parameter"):
        LensModel((CausticsMass(Lens(), ranges), "multipole3"), {})


def test_a_missing_package_is_one_sentence(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "caustics", None)
    with pytest.raises(BlindlensError, match=r"pip install 'blindlens\[caustics\]'"):
        LensModel((f"caustics:{file}",), RANGES)
