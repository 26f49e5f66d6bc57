"""log p(y) by population Monte Carlo: importance sampling from a mixture that learns from its own draws.

Cappe et al. (2008); for the evidence of cosmological models Kilbinger et al. (2010); draws of all rounds are weighted
together as in Cornuet et al. (2012). Values of the density suffice, and the error comes from the weights.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax import Array

from ..sampler.kernels import Mixture
from .evidence import Evidence
from .parallel import spread

UNRELIABLE = 0.7
"""Shape of the weights' tail above which their mean is not to be trusted (Vehtari et al. 2024)."""


class Estimate(NamedTuple):
    """log_evidence: log p(y) without its constant -N/2 log(2 pi), and its standard error. ess: effective sample size of
    the last round. tail: k^ of its weights, of which UNRELIABLE is too much. eta (P, d), log_weights (P,): its draws.
    """

    log_evidence: float
    error: float
    ess: float
    tail: float
    eta: np.ndarray
    log_weights: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Normalised, (P,)."""
        return scipy.special.softmax(self.log_weights)


@eqx.filter_jit
def _drawn(key: Array, evidence: Evidence, mixture: Mixture, draws: int) -> tuple[Array, Array]:
    """eta (draws, d) from the mixture, and their log p(y, eta)."""
    eta = jax.vmap(mixture.sample)(jax.random.split(key, draws))
    values = spread(lambda evidence, eta: evidence.log_posterior(eta), evidence, eta)
    return eta, values - eta.shape[1] / 2 * jnp.log(2 * jnp.pi)


def population(key: Array, evidence: Evidence, mixture: Mixture, draws: int, rounds: int) -> Estimate:
    """log p(y) from `rounds` rounds of `draws` draws that teach the mixture, and one of twice as many that counts.

    mixture: where to begin; what none of its components reaches is not found. The estimate is that of the last round,
    whose mixture does not depend on its draws.
    """
    known: list[tuple[np.ndarray, np.ndarray]] = []
    used: list[Mixture] = []
    keys = jax.random.split(key, rounds + 1)
    for k in keys[:-1]:
        eta, values = (np.asarray(t, np.float64) for t in _drawn(k, evidence, mixture, draws))
        known.append((eta, values))
        used.append(mixture)
        every, value = (np.concatenate(t) for t in zip(*known, strict=True))
        proposal = scipy.special.logsumexp([_log_density(q, every) for q in used], 0) - np.log(len(used))
        mixture = refitted(mixture, every, _finite(value - proposal))
    eta, values = (np.asarray(t, np.float64) for t in _drawn(keys[-1], evidence, mixture, 2 * draws))
    log_weights = _finite(values - _log_density(mixture, eta))
    return Estimate(*mean_weight(log_weights), eta, log_weights)


def mean_weight(log_weights: np.ndarray) -> tuple[float, float, float, float]:
    """Log of the mean weight, its standard error, the effective sample size, and k^ of the weights' tail."""
    from arviz_stats.base.array import array_stats

    weights = scipy.special.softmax(log_weights)
    ess = float(1 / np.sum(weights**2))
    log_mean = float(scipy.special.logsumexp(log_weights) - np.log(len(weights)))
    try:
        _, tail = array_stats.psislw(-log_weights)  # its argument is a log likelihood
    except ValueError:  # of a tail that is all the same
        tail = np.inf
    return log_mean, float(np.sqrt(max(1 / ess - 1 / len(weights), 0.0))), ess, float(tail)


def refitted(mixture: Mixture, eta: np.ndarray, log_weights: np.ndarray) -> Mixture:
    """One step of expectation maximisation for t mixtures towards the weighted draws (N, d).

    Weights are first raised to the power, at most 1, that leaves an effective sample size of 4 d. A component keeps its
    earlier covariance with the weight of d draws, and a thousandth of the whole weight at the least.
    """
    d = eta.shape[1]
    weights = tempered(log_weights, 4.0 * d)
    terms, distance = _components(mixture, eta)
    share = scipy.special.softmax(terms, 0) * weights
    pull = share * (mixture.dof + d) / (mixture.dof + distance)
    ess = 1 / np.sum(weights**2)
    means, factors = np.array(mixture.means, np.float64), np.array(mixture.factors, np.float64)
    for k in np.flatnonzero(share.sum(1) * ess > 1):
        count = ess * share[k].sum()
        means[k] = pull[k] @ eta / pull[k].sum()
        away = eta - means[k]
        covariance = (away.T * pull[k]) @ away / share[k].sum()
        covariance = (count * covariance + d * factors[k] @ factors[k].T) / (count + d)
        factors[k] = np.linalg.cholesky(covariance)
    f32 = mixture.means.dtype
    return Mixture(
        jnp.asarray(means, f32),
        jnp.asarray(factors, f32),
        jnp.log(jnp.asarray(np.maximum(share.sum(1), 1e-3), f32)),
        mixture.dof,
    )


def tempered(log_weights: np.ndarray, least: float) -> np.ndarray:
    """Normalised weights to the greatest power up to 1 whose effective sample size is `least` or more."""
    least = min(least, len(log_weights) / 2)
    low, high = 0.0, 1.0
    if 1 / np.sum(scipy.special.softmax(log_weights) ** 2) >= least:
        low = 1.0
    else:
        for _ in range(40):
            power = (low + high) / 2
            enough = 1 / np.sum(scipy.special.softmax(power * log_weights) ** 2) >= least
            low, high = (power, high) if enough else (low, power)
    return scipy.special.softmax(low * log_weights)


def _finite(log_weights: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(log_weights), log_weights, -1e30)


def _components(mixture: Mixture, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log density times weight of every component, and squared Mahalanobis distance: (K, N) each, in float64."""
    means, factors = np.asarray(mixture.means, np.float64), np.asarray(mixture.factors, np.float64)
    d, dof = means.shape[1], mixture.dof
    gamma: Any = scipy.special.gammaln
    constant = gamma((dof + d) / 2) - gamma(dof / 2) - d / 2 * np.log(dof * np.pi)
    z = np.stack([np.linalg.solve(f, (eta - m).T) for m, f in zip(means, factors, strict=True)])
    distance = np.sum(z**2, 1)
    log_det = np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), 1)
    log_weights = scipy.special.log_softmax(np.asarray(mixture.log_weights, np.float64))
    terms = constant - (dof + d) / 2 * np.log1p(distance / dof) - log_det[:, None] + log_weights[:, None]
    return terms, distance


def _log_density(mixture: Mixture, eta: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.special.logsumexp(_components(mixture, eta)[0], 0))
