"""`ApplyGeneratedWeights`: a multi-layer perceptron on generated weights."""

from __future__ import annotations

from typing import Unpack

import keras

from keras_hypernet.layers.hyper import Hyper
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import (
    ActivationLike,
    Config,
    LayerArguments,
    LayerSizes,
    Shape,
    Tensor,
    Weights,
    WeightShapes,
)
from keras_hypernet.weights import forms


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ApplyGeneratedWeights(HyperLayer):
    """Dense layers one after another, each on its own generated weights.

    `x_0 = x`, `x_{i+1} = activation(x_i @ kernel_i + bias_i)`, without the activation after the
    last layer. Row `g` of the weights serves the data rows `b` with `b // (batch // rows) == g`.

    Args:
        target_layer_sizes: List of pairs `(in, out)` that chain.
        activation: Between layers: name of a Keras activation, a callable, or `None`.
        contraction: As in `Hyper`.
        shared: Whether the weights have a single row for the whole batch.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        x: `(batch, ..., in)` with the first layer's `in`.
        weights: List with the weights of each layer, flat `(rows, in * out + out)` or factored.
            Or the weights of all layers in one, flat `(rows, total)` or factored, laid out as
            `WeightSpec.from_layer_sizes(target_layer_sizes)` says.

    Returns:
        `(batch, ..., out)` with the last layer's `out`.

    Raises:
        ValueError: if sizes do not chain, the first does not take `x`, the number of weights is
            not that of the layers, a width does not fit, or rows do not divide the batch.
        TypeError: if weights are not floating tensors.

    Example:

    >>> weights = [np.ones((2, 3 * 4 + 4), "float32"), np.ones((2, 4 * 5 + 5), "float32")]
    >>> y = kh.ApplyGeneratedWeights([(3, 4), (4, 5)])(np.ones((2, 3), "float32"), weights)
    >>> keras.ops.shape(y)
    (2, 5)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106).
    """

    def __init__(
        self,
        target_layer_sizes: LayerSizes,
        activation: ActivationLike = "relu",
        contraction: str = "auto",
        shared: bool = False,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        target_layer_sizes = checks.layer_sizes("target_layer_sizes", target_layer_sizes)
        activation = checks.activation("activation", activation)
        super().__init__(shared=shared, **kwargs)
        self.target_layer_sizes = target_layer_sizes
        self.activation = activation
        self.contraction = contraction
        last = len(target_layer_sizes) - 1
        self.dense_layers = []
        for i, (inputs, outputs) in enumerate(target_layer_sizes):
            dense = keras.layers.Dense(
                outputs,
                activation=activation if i < last else None,
                dtype=self.dtype_policy,
                name=f"layer_{i}",
            )
            layer = Hyper(dense, shared, contraction)
            layer.spec((None, inputs))  # builds it
            self.dense_layers.append(layer)

    @property
    def totals(self):
        """Number of weights of each layer."""
        return [inputs * outputs + outputs for inputs, outputs in self.target_layer_sizes]

    def check_weights(self, weights):
        if isinstance(weights, (list, tuple)):
            self._check_number(weights)
        for each in weights if isinstance(weights, (list, tuple)) else [weights]:
            forms.check_weights(each)

    def check_shapes(self, x_shape, weights_shape):
        checks.data_axes("x", x_shape)
        checks.last_axis("x", x_shape, self.target_layer_sizes[0][0])
        shapes = self._per_layer(weights_shape)
        for layer, sizes, shape in zip(self.dense_layers, self.target_layer_sizes, shapes):
            layer.check_shapes((*x_shape[:-1], sizes[0]), shape)

    def build(self, x_shape: Shape, weights_shape: WeightShapes) -> None:
        self.check_shapes(x_shape, weights_shape)
        shapes = self._per_layer(weights_shape)
        for layer, sizes, shape in zip(self.dense_layers, self.target_layer_sizes, shapes):
            layer.build((*x_shape[:-1], sizes[0]), shape)

    def call(self, x: Tensor, weights: Weights) -> Tensor:
        for layer, layer_weights in self._of_layers(weights):
            x = layer(x, layer_weights)
        return x

    def _of_layers(self, weights):
        """`[(layer, its weights)]`."""
        if not isinstance(weights, (list, tuple)):
            weights = forms.split_layers(weights, self.totals)
        return list(zip(self.dense_layers, weights))

    def tensors_by_name(self, weights):
        found = {}
        for layer, each in self._of_layers(weights):
            found.update(layer.tensors_by_name(each))
        return found

    def plain_layers(self, weights):
        plain = []
        for layer, each in self._of_layers(weights):
            [(dense, *values)] = layer.plain_layers(each)
            plain.append((dense, *values))
        return plain

    def contractions_of(self, weights):
        if not isinstance(weights, (list, tuple)):
            weights = [weights] * len(self.dense_layers)
        return [
            (f"{self.name}/{layer.name}", layer.chosen_contraction(), each)
            for layer, each in zip(self.dense_layers, weights)
        ]

    def compute_output_shape(
        self, x_shape: Shape, weights_shape: WeightShapes | None = None
    ) -> Shape:
        return (*x_shape[:-1], self.target_layer_sizes[-1][1])

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "target_layer_sizes": [list(pair) for pair in self.target_layer_sizes],
            "activation": keras.activations.serialize(self.activation),
            "contraction": self.contraction,
        }

    def _per_layer(self, weights_shape):
        """Shapes of the weights of each layer."""
        shared = isinstance(weights_shape, dict) or not weights_shape
        if shared or not isinstance(weights_shape[-1], (dict, list, tuple)):
            forms.check_shapes(weights_shape, sum(self.totals))
            return forms.layer_shapes(weights_shape, self.totals)
        self._check_number(weights_shape)
        return weights_shape

    def _check_number(self, entries):
        if len(entries) != len(self.target_layer_sizes):
            raise ValueError(
                "`weights` must have one entry per target layer "
                f"({len(self.target_layer_sizes)}). Received: {len(entries)}"
            )
