"""NCSN++: shapes and gradients, the import of score_models' checkpoints, and their numbers reproduced."""

import json
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.prior.import_score_models import import_score_models, tensor_names
from blindlens.prior.networks.layers import downsample, upsample
from blindlens.prior.networks.ncsnpp import NCSNpp, NCSNppConfig

SMALL = NCSNppConfig(nf=8, ch_mult=(1, 2), num_res_blocks=1, init_scale=1.0, fourier_scale=1.0)
HPARAMS = {"sde": "ve", "sigma_min": 0.001, "sigma_max": 50.0, "T": 1.0, "model_architecture": "NCSNpp"}
TINY = {"nf": 8, "ch_mult": [1, 2], "num_res_blocks": 1}


@eqx.filter_jit
def forward(network, x, t):
    return jax.vmap(network)(x, t)


@pytest.fixture(scope="module")
def network():
    return NCSNpp.init(jax.random.key(0), SMALL)


# python -c "from score_models import NCSNpp as N; print(*(sum(p.numel() for p in N(nf=64, ch_mult=(1, 2, 2, 3),
#   num_res_blocks=b, combine_method=m).parameters()) for m in ('sum', 'cat') for b in (2, 3)))", score_models 0.5.11
@pytest.mark.parametrize(
    ("method", "blocks", "count"),
    [("sum", 2, 13_404_900), ("sum", 3, 17_140_964), ("cat", 2, 14_389_220), ("cat", 3, 18_125_284)],
)
def test_as_many_parameters_as_score_models(method, blocks, count):
    config = NCSNppConfig(num_res_blocks=blocks, combine_method=method)
    network = NCSNpp.init(jax.random.key(0), config)
    assert sum(leaf.size for leaf in jax.tree.leaves(network)) == count


@pytest.mark.parametrize("other", [{}, {"combine_method": "cat"}, {"progressive": "none", "fir": False}])
def test_a_batch_is_its_images_and_time_matters(other):
    network = NCSNpp.init(jax.random.key(1), SMALL.model_copy(update=other))
    x, t = jax.random.normal(jax.random.key(2), (3, 12, 12)), jnp.array([0.0, 0.5, 1.0])
    out = forward(network, x, t)
    assert out.shape == (3, 12, 12) and out.dtype == jnp.float32 and jnp.isfinite(out).all()
    np.testing.assert_allclose(out[1:2], forward(network, x[1:2], t[1:2]), atol=1e-5)
    turned = forward(network, x, t[::-1])
    change = np.linalg.norm(turned - out, axis=(1, 2)) / np.linalg.norm(out, axis=(1, 2))
    assert change[0] > 0.01 and change[2] > 0.01 and change[1] < 1e-5


def test_every_parameter_has_a_gradient_but_the_frequencies(network):
    x = jax.random.normal(jax.random.key(3), (3, 8, 8))
    loss = lambda net: jnp.sum(jax.vmap(net)(x, jnp.array([0.2, 0.5, 0.9])) ** 2)  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(network)
    for name, leaf in zip(tensor_names(network), jax.tree.leaves(gradient), strict=True):
        assert np.isfinite(leaf).all()
        assert np.any(np.asarray(leaf)) == (name != "all_modules.0.W"), name


def test_upsampling_is_the_transpose_of_downsampling_and_both_keep_a_constant():
    x, kernel = jax.random.normal(jax.random.key(4), (8, 8, 2)), (1, 3, 3, 1)
    transpose = jax.linear_transpose(lambda y: downsample(y, kernel), jax.ShapeDtypeStruct((16, 16, 2), jnp.float32))
    np.testing.assert_allclose(upsample(x, kernel), 4 * transpose(x)[0], atol=1e-6)
    for resample in (upsample, downsample):
        np.testing.assert_allclose(resample(jnp.ones((8, 8, 1)), kernel)[1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(upsample(x, (1, 1)), np.repeat(np.repeat(x, 2, 0), 2, 1), rtol=1e-6)
    np.testing.assert_allclose(downsample(x, (1, 1)), x.reshape(4, 2, 4, 2, 2).mean((1, 3)), atol=1e-6)


def test_what_the_network_cannot_take(network):
    for shape in ((7, 7), (8, 6), (1, 8, 8)):
        with pytest.raises(BlindlensError, match="multiple of 2"):
            network(jnp.zeros(shape), 0.5)
    with pytest.raises(BlindlensError, match="30 channels"):
        NCSNpp.init(jax.random.key(0), NCSNppConfig(nf=30))


def write(folder, network, number=1, hparams=None, edit=None):
    """A checkpoint as score_models writes it, from our network; `edit` changes the tensors."""
    torch = pytest.importorskip("torch")
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(network)]
    arrays = [a.transpose(3, 2, 0, 1) if a.ndim == 4 else a for a in leaves]
    state = {k: torch.tensor(np.ascontiguousarray(a)) for k, a in zip(tensor_names(network), arrays, strict=True)}
    if edit:
        edit(state)
    torch.save(state, folder / f"checkpoint_1.2345e-01_{number:03d}.pt")
    torch.save({"state": {}}, folder / f"optimizer_1.2345e-01_{number:03d}.pt")
    (folder / "model_hparams.json").write_text(json.dumps(hparams or HPARAMS | TINY))


def test_the_newest_checkpoint_or_the_one_named_is_read(tmp_path, network):
    older = NCSNpp.init(jax.random.key(9), SMALL)
    write(tmp_path, older, 9)
    write(tmp_path, network, 10)
    read, facts = import_score_models(tmp_path)
    assert facts["sigma_min"] == 0.001 and facts["sigma_max"] == 50.0 and facts["checkpoint"].endswith("010.pt")
    assert eqx.tree_equal(jax.tree.leaves(read), jax.tree.leaves(network))
    read, _ = import_score_models(tmp_path / "checkpoint_1.2345e-01_009.pt")
    assert eqx.tree_equal(jax.tree.leaves(read), jax.tree.leaves(older))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nf_typo": 8}, "nf_typo"),
        ({"progressive": "residual"}, "progressive"),
        ({"channels": 3}, "channels = 3"),
        ({"condition": ["vector"]}, "condition"),
        ({"sde": "vp"}, "sde"),
        ({"T": 2.0}, "T = 2.0"),
        ({"sigma_max": None}, "sigma_max"),
        ({"sigma_max": 0.0005}, "sigma_min < sigma_max"),
    ],
)
def test_hyperparameters_that_are_unknown_or_unsupported_are_refused_by_name(tmp_path, change, message):
    (tmp_path / "checkpoint_1.2345e-01_001.pt").write_bytes(b"")
    (tmp_path / "model_hparams.json").write_text(json.dumps(HPARAMS | TINY | change))
    with pytest.raises(BlindlensError, match=message):
        import_score_models(tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("all_modules.3.conv.bias"), "lacks all_modules.3.conv.bias"),
        (
            lambda s: s.update({"all_modules.99.weight": s["all_modules.1.bias"]}),
            "beyond the network, all_modules.99.weight",
        ),
        (lambda s: s.update({"all_modules.1.bias": s["all_modules.1.bias"][:-1]}), "all_modules.1.bias has shape"),
        (lambda s: s["all_modules.1.bias"].fill_(float("nan")), "all_modules.1.bias .* not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, network, edit, message):
    write(tmp_path, network, edit=edit)
    with pytest.raises(BlindlensError, match=message):
        import_score_models(tmp_path)


def test_files_that_cannot_be_read_are_refused(tmp_path, network, monkeypatch):
    with pytest.raises(BlindlensError, match="no folder with"):
        import_score_models(tmp_path)
    write(tmp_path, network)
    file = tmp_path / "checkpoint_1.2345e-01_001.pt"
    whole = file.read_bytes()
    for part in (b"", b"garbage", whole[: len(whole) // 2]):
        file.write_bytes(part)
        with pytest.raises(BlindlensError, match="not a readable score_models checkpoint"):
            import_score_models(tmp_path)
    import torch

    torch.save({"all_modules.0.W": Exception}, file)  # an object, which only an unsafe unpickling would make
    with pytest.raises(BlindlensError, match="not a readable score_models checkpoint"):
        import_score_models(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BlindlensError, match="pip install torch"):
        import_score_models(tmp_path)
    (tmp_path / "model_hparams.json").write_text("{")
    with pytest.raises(BlindlensError, match="cannot read"):
        import_score_models(tmp_path)


def shaken(torch, hyper, seed=0):
    """A ScoreModel whose parameters, output layers and biases included, are all far from zero."""
    from score_models import ScoreModel

    torch.manual_seed(seed)
    model = ScoreModel(model="ncsnpp", sigma_min=0.001, sigma_max=50.0, device="cpu", **hyper)
    with torch.no_grad():
        for p in model.model.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def disagreement(torch, model, network, facts, n):
    """Greatest |score - score_models' score| / |score_models' score| of an image, sigma from 0.001 to 50."""
    sigma = np.array([0.001, 0.03, 1.0, 10.0, 50.0], np.float32)
    ratio = facts["sigma_max"] / facts["sigma_min"]
    t = (np.log(sigma / facts["sigma_min"]) / np.log(ratio)).astype(np.float32)
    x = np.random.default_rng(0).normal(size=(5, n, n)).astype(np.float32) * np.sqrt(1 + sigma**2)[:, None, None]
    with torch.no_grad():
        theirs = model.score(torch.tensor(t), torch.tensor(x)[:, None])[:, 0].numpy()
    ours = forward(network, x, t) / sigma[:, None, None]
    return np.max(np.linalg.norm(ours - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2)))


PAPER = {"nf": 64, "ch_mult": [1, 2, 2, 3], "num_res_blocks": 3}


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("hyper", "n"),
    [
        (PAPER | {"combine_method": "sum"}, 32),
        (PAPER | {"combine_method": "cat"}, 32),
        (TINY | {"activation_type": "elu", "fir_kernel": [1, 2, 4, 2, 1, 1], "skip_rescale": False}, 12),
        (TINY | {"fir": False, "progressive": "none", "attention": False, "combine_method": "cat"}, 12),
        (TINY | {"progressive_input": "none", "combine_method": "cat", "fourier_scale": 2.0}, 12),
    ],
)
def test_the_score_is_score_models_through_its_files(tmp_path, hyper, n):
    torch = pytest.importorskip("torch")
    pytest.importorskip("score_models")
    model = shaken(torch, hyper)
    (tmp_path / "model_hparams.json").write_text(json.dumps(model.hyperparameters))
    file = tmp_path / "checkpoint_1.0000e+00_001.pt"
    torch.save(model.model.state_dict(), file)
    network, facts = import_score_models(tmp_path)
    error = disagreement(torch, model, network, facts, n)
    print(f"{hyper}: relative error {error:.1e}")
    assert error < 1e-4
    torch.save(model.state_dict(), file)  # the whole ScoreModel, which score_models reads as well
    again, _ = import_score_models(tmp_path)
    assert eqx.tree_equal(network, again)
    # control: one tensor of one block changed
    state = model.model.state_dict()
    state["all_modules.4.Conv_0.conv.weight"] = state["all_modules.4.Conv_0.conv.weight"].flip(2)
    torch.save(state, file)
    assert disagreement(torch, model, import_score_models(tmp_path)[0], facts, n) > 1e-3


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["sum", "cat"])
def test_fresh_weights_are_distributed_as_score_models(method):
    pytest.importorskip("torch")
    score_models = pytest.importorskip("score_models")
    theirs = score_models.NCSNpp(**PAPER, combine_method=method).state_dict()
    network = NCSNpp.init(jax.random.key(0), NCSNppConfig(combine_method=method))
    for name, leaf in zip(tensor_names(network), jax.tree.leaves(network), strict=True):
        a, b = np.asarray(leaf), theirs[name].numpy()
        if a.ndim == 1 and name != "all_modules.0.W":
            np.testing.assert_array_equal(a, b, name)
        else:
            noise = 1 / np.sqrt(a.size)
            assert abs(a.std() / b.std() - 1) < 5 * noise and abs(a.mean()) < 5 * a.std() * noise, name


@pytest.mark.oracle
def test_what_score_models_itself_trained_and_saved_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("score_models")
    from score_models import ScoreModel

    model = shaken(torch, {"nf": 8, "ch_mult": [1, 2], "num_blocks": 3})  # num_blocks: unread, two blocks are built
    data = torch.utils.data.TensorDataset(torch.randn(4, 1, 8, 8))
    model.fit(data, batch_size=2, epochs=2, checkpoints=1, learning_rate=1e-2, checkpoints_directory=str(tmp_path))
    network, facts = import_score_models(tmp_path)
    assert network.config.num_res_blocks == 2 and facts["hyperparameters"]["num_blocks"] == 3
    loaded = ScoreModel(checkpoints_directory=str(tmp_path), device="cpu").eval()
    assert disagreement(torch, loaded, network, facts, 8) < 1e-4
