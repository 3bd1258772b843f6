"""`Rule`: how a layer of one class runs on weights of its own for every row."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import keras

from keras_hypernet.ops import rows
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.naming import named_variables
from keras_hypernet.utils.types import FullShape, Tensor, TensorsByName


class Rule:
    """How layers of one class run on weights of their own for every row of the batch.

    `y[b] = layer(x[b])` with the tensors of row `b // (batch // rows)` in place of the layer's
    variables. A subclass gives `apply`; it has no state, for one rule serves all layers of the
    class. `kh.register_rule` makes it known.

    `contracts` has the names of those kernels `(inputs, outputs)` that `apply` also takes factored,
    `{"features", "basis", "offset"}`, with an argument `order`: how to contract the product.
    `takes_whole` says that there is an `apply_whole(layer, x, weights, order)`, for weights that
    are neither cut nor reshaped. `updated_by_default` says that `hypernetize(mode="low_rank")`
    updates what can be updated without being told.

    Raises:
        ValueError: in `update_shapes`, for a tensor that takes no update of low rank.

    Example:

    >>> class Scale(keras.layers.Layer):
    ...     def build(self, shape):
    ...         self.scale = self.add_weight(shape[-1:], name="scale")
    ...     def call(self, x):
    ...         return x * self.scale
    >>> class ScaleRule(kh.Rule):
    ...     def apply(self, layer, x, tensors):
    ...         return self.combine(keras.ops.multiply, x, tensors["scale"], axes=[-1])
    >>> kh.register_rule(Scale, ScaleRule)
    >>> y = kh.Hyper(Scale())(np.ones((4, 3), "float32"), np.ones((2, 3), "float32"))
    >>> keras.ops.shape(y)
    (4, 3)
    """

    contracts: tuple[str, ...] = ()
    takes_whole = False
    updated_by_default = False

    def variables(self, layer: keras.layers.Layer) -> dict[str, keras.Variable]:
        """The variables of a built layer that are given as tensors, by the names of these."""
        given = {id(v) for _, v in keras_internals.parameters(layer)}
        return {name: v for name, v in named_variables(layer).items() if id(v) in given}

    def apply(
        self, layer: keras.layers.Layer, x: Tensor, tensors: TensorsByName, **kwargs: Tensor
    ) -> Tensor:
        """What `layer(x, **kwargs)` returns on other weights.

        Args:
            layer: The built layer. Its own variables, but state, are not to be read.
            x: Data `(batch, ...)`.
            tensors: `{name: tensor (rows, *shape)}`, where a single row serves the whole batch, or
                an update of low rank `{"base", "down", "up"}` where `update_shapes` allows one: see
                `keras_hypernet.ops.low_rank`.
            **kwargs: The call's further arguments; `training` only where `apply` names it.
        """
        raise NotImplementedError

    def update_shapes(
        self, layer: keras.layers.Layer, name: str, shape: FullShape, rank: int
    ) -> tuple[FullShape, FullShape]:
        """Shapes of `down` and `up` that update a tensor by a product of low rank."""
        raise ValueError(
            f"The {name} of a `{type(layer).__name__}` takes no update of low rank. "
            f"Received: an update of rank {rank}"
        )

    def adapted_kernels(self, layer: keras.layers.Layer) -> dict[str, FullShape]:
        """`{name: shape}` of what is updated by low rank over a quantized or adapted layer."""
        return {}

    def update_equation(self, layer: keras.layers.Layer, name: str, shape: FullShape) -> str:
        """The einsum equation of `down` and `up` for their product."""
        axes = string.ascii_letters[: len(shape) - 1]
        return f"{axes}Y,YZ->{axes}Z"

    def output_spec(
        self, layer: keras.layers.Layer, x: Tensor, *args: Tensor, **kwargs: Tensor
    ) -> Tensor:
        """KerasTensors of what `apply` returns for KerasTensors: those of the layer itself."""
        return layer.compute_output_spec(x, *args, **kwargs)

    def combine(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        tensor: Tensor,
        axes: Sequence[int],
    ) -> Tensor:
        """`function(x, tensor)` by rows, the tensor `(rows, *shape)` along axes of the data."""
        axes = sorted(axis % len(x.shape) for axis in axes)
        return rows.apply(function, x, tensor, axes)


_RULES: dict[type, Rule] = {}


def register_rule(layer_class: type[keras.layers.Layer], rule: Rule | type[Rule]) -> None:
    """Says how layers of a class run on weights of their own for every row.

    `kh.Hyper` then takes a row of weights per sample for such layers, wherever they stand. So do
    subclasses that have the same `call`.

    Args:
        layer_class: A class of Keras layers.
        rule: A `kh.Rule`, or a class of them.

    Raises:
        TypeError: if `layer_class` is not a class of layers, or `rule` not a rule with an
            `apply`.
        ValueError: if the class has a rule.

    Example:

    >>> class Shift(keras.layers.Layer):
    ...     def build(self, shape):
    ...         self.offset = self.add_weight(shape[-1:], name="offset")
    ...     def call(self, x):
    ...         return x + self.offset
    >>> class ShiftRule(kh.Rule):
    ...     def apply(self, layer, x, tensors):
    ...         return self.combine(keras.ops.add, x, tensors["offset"], axes=[-1])
    >>> kh.register_rule(Shift, ShiftRule)
    >>> kh.Hyper(Shift()).spec((None, 3)).total
    3
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise TypeError(f"`layer_class` must be a class of Keras layers. Received: {layer_class!r}")
    rule = rule() if isinstance(rule, type) and issubclass(rule, Rule) else rule
    checks.instance("rule", rule, Rule)
    own = type(rule).apply is not Rule.apply
    checks.require(own, "rule", "have an `apply` of its own", rule, TypeError)
    if layer_class in _RULES:
        raise ValueError(
            f"`layer_class` must be a class without a rule. Received: {layer_class.__name__}, "
            f"which has {type(_RULES[layer_class]).__name__}"
        )
    _RULES[layer_class] = rule


def rule_of(layer: keras.layers.Layer) -> Rule | None:
    """The rule of a layer's class, or of the base whose `call` it has; `None` without one."""
    for base in type(layer).__mro__:
        if base in _RULES:
            calls = ("call", "__call__")
            same = all(getattr(type(layer), n) is getattr(base, n) for n in calls)
            return _RULES[base] if same else None
    return None


def has_own_rule(layer: keras.layers.Layer) -> bool:
    """Whether a layer is of the very class that a rule of this package is for."""
    rule = _RULES.get(type(layer))
    ours = rule is not None and type(rule).__module__.startswith(__package__)
    return ours and not is_adapted(layer)


def is_adapted(layer: keras.layers.Layer) -> bool:
    """Whether a layer has an adapter or a quantized kernel: its weights are not its kernel."""
    quantized = getattr(layer, "quantization_mode", None) is not None
    return quantized or getattr(layer, "lora_enabled", False)
