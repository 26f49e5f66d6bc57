"""Linear operators: what guidance and samplers see of a lens."""

import abc
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class LinearOperator(eqx.Module):
    """A real linear map from arrays of shape `in_shape` to arrays of shape `out_shape`.

    `A @ x` maps (..., *in_shape) to (..., *out_shape); `A.T` is the exact adjoint, <A x, v> = <x, A.T v>.
    """

    @property
    @abc.abstractmethod
    def in_shape(self) -> tuple[int, ...]: ...

    @property
    @abc.abstractmethod
    def out_shape(self) -> tuple[int, ...]: ...

    @abc.abstractmethod
    def mv(self, x: Array) -> Array:
        """A x for one x of shape `in_shape`."""

    def __matmul__(self, x: Array) -> Array:
        batch = x.shape[: x.ndim - len(self.in_shape)]
        if x.shape[len(batch) :] != self.in_shape:
            raise ValueError(f"this operator maps arrays of shape {self.in_shape}, not {x.shape}")
        y = jax.vmap(self.mv)(x.reshape(-1, *self.in_shape)) if batch else self.mv(x)
        return y.reshape(batch + self.out_shape)

    @property
    def T(self) -> "LinearOperator":
        return Adjoint(self)

    def dense(self) -> Array:
        """The matrix, (prod out_shape, prod in_shape)."""
        size = math.prod(self.in_shape)
        columns = self @ jnp.eye(size).reshape(size, *self.in_shape)
        return columns.reshape(size, -1).T


class Adjoint(LinearOperator):
    """A^T, by transposing the traced program of A: exact whatever A computes."""

    operator: LinearOperator

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.operator.out_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.operator.in_shape

    def mv(self, x: Array) -> Array:
        primal = jax.ShapeDtypeStruct(self.operator.in_shape, x.dtype)
        return jax.linear_transpose(self.operator.mv, primal)(x)[0]

    @property
    def T(self) -> LinearOperator:
        return self.operator


class Scaled(LinearOperator):
    """x -> weight * (A x), weight broadcast against the output: whitening, masks and units."""

    weight: Array
    operator: LinearOperator

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.operator.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.operator.out_shape

    def mv(self, x: Array) -> Array:
        return self.weight * self.operator.mv(x)


class Columns(LinearOperator):
    """a -> sum_k a_k g_k for given images g, (k, ...): a linear component such as lens light."""

    images: Array

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.images.shape[:1]

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def mv(self, x: Array) -> Array:
        return jnp.tensordot(x, self.images, 1)


class Sum(LinearOperator):
    """(x, a) -> A x + G a on one flat vector [x.ravel(), a.ravel(), ...]: a sum of components is an operator too."""

    parts: tuple[LinearOperator, ...]

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (sum(math.prod(p.in_shape) for p in self.parts),)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.parts[0].out_shape

    def split(self, x: Array) -> list[Array]:
        """The components' own inputs."""
        pieces, start = [], 0
        for part in self.parts:
            size = math.prod(part.in_shape)
            pieces.append(x[start : start + size].reshape(part.in_shape))
            start += size
        return pieces

    def mv(self, x: Array) -> Array:
        images = (part.mv(piece) for part, piece in zip(self.parts, self.split(x), strict=True))
        return functools.reduce(jnp.add, images)
