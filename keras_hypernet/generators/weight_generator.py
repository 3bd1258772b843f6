"""`WeightGenerator`: a multi-layer perceptron with one linear head."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, Unpack

import keras
from keras import ops

from keras_hypernet.conditioning import inputs
from keras_hypernet.generators import options
from keras_hypernet.generators.blocks.hidden_layer import HiddenLayer, checked_scale
from keras_hypernet.generators.generator import Generator
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import unique_name
from keras_hypernet.utils.types import (
    ActivationLike,
    Conditioning,
    Config,
    InitializerLike,
    RegularizerLike,
    Shape,
    Weights,
)
from keras_hypernet.weights.forms import cast, factored_shapes, specs_of

if TYPE_CHECKING:
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.initializers.initialization import InitializationLike
    from keras_hypernet.weights.spec import SpecLike


@keras.saving.register_keras_serializable(package="keras_hypernet")
class WeightGenerator(Generator):
    """Generates all weights of a target by a multi-layer perceptron with one linear head.

    `features = feature_scale * mlp(conditioning)`, `weights = features @ head_kernel + head_bias`.
    A hidden layer is dense, batch normalization, dropout, activation, in this order. It has about
    as many parameters as the target has weights, times the last hidden width: for small targets,
    where a condition may change every weight on its own.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        hidden_sizes: Widths of the hidden layers; empty for a linear generator.
        activation: Of the hidden layers: name, callable or `None`.
        use_bias: Whether the dense layers, head included, have biases.
        dropout: Rate of the dropout in each hidden layer, in [0, 1).
        batch_normalization: Whether each hidden layer normalizes its batch.
        momentum, epsilon: Of the batch normalization.
        num_conditions: Number of sets of the batch normalization's statistics; the call's
            `condition_id` selects one for each row. `None` is one set for all.
        spectral_normalization: Whether hidden layers divide their kernel by its spectral norm.
        initialization: How the generator starts: `BiasHyperInit`, `HyperFanIn`, `HyperFanOut` or
            `HyperFanHarmonic`, or the name of one. `None` is Keras' defaults for the variables,
            and uniform in +-0.01 for the head's kernel.
        feature_scale: Factor of what the last hidden layer puts out. `None` is `1 / sqrt(width)`:
            then a step of Adam changes generated weights little more than it changes ordinary ones,
            however wide the generator is.
        kernel_initializer, bias_initializer: Of the hidden layers. `None`, here and of the head,
            is what `initialization` gives the variable.
        kernel_regularizer, bias_regularizer: Of the hidden layers.
        head_kernel_initializer, head_bias_initializer: Of the head.
        head_kernel_regularizer, head_bias_regularizer: Of the head.
        factored: Whether to return `{"features", "basis", "offset"}` in place of their product,
            so that a hyper layer may apply the weights without building them. For use inside one
            graph: do not keep the tensors, and do not make them outputs of a model.
        seed: Seed of the dropout.
        unknown: What an id does that no condition has: see `ConditionEmbedding`.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating. Or a dict of `noise`, `condition` or both, each
            `(rows, size)` or `(1, size)`, joined in this order, and `condition_id (rows,)` where
            there are `num_conditions`.
        factored: Overrides the constructor's `factored` for this call.
        training: Whether batch normalization and dropout act as in training.

    Returns:
        Flat weights `(rows, total)`, or with `factored=True` the dict `{"features": (rows, k),
        "basis": (k, total), "offset": (total,)}`.

    Raises:
        ValueError: on arguments outside the ranges above and on conditioning of another rank.
        TypeError: on conditioning that is not floating.

    Example:

    >>> generator = kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[32])
    >>> keras.ops.shape(generator(np.ones((5, 2), "float32")))
    (5, 16)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106); spectral
    normalization: Miyato et al., 2018 (https://arxiv.org/abs/1802.05957).
    """

    def __init__(
        self,
        spec: SpecLike,
        hidden_sizes: Sequence[int] = (256, 256),
        activation: ActivationLike = "relu",
        use_bias: bool = True,
        dropout: float = 0.0,
        batch_normalization: bool = False,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        num_conditions: int | None = None,
        spectral_normalization: bool = False,
        initialization: InitializationLike = "bias_hyper_init",
        feature_scale: float | None = None,
        kernel_initializer: InitializerLike = None,
        bias_initializer: InitializerLike = None,
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        head_kernel_initializer: InitializerLike = None,
        head_bias_initializer: InitializerLike = None,
        head_kernel_regularizer: RegularizerLike = None,
        head_bias_regularizer: RegularizerLike = None,
        factored: bool = False,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        hidden_sizes = checks.positive_ints("hidden_sizes", hidden_sizes)
        activation = checks.activation("activation", activation)
        dropout = checks.fraction("dropout", dropout)
        momentum = checks.fraction("momentum", momentum)
        epsilon = checks.positive_number("epsilon", epsilon)
        use_bias = checks.boolean("use_bias", use_bias)
        steps = {
            "dropout": dropout,
            "batch_normalization": checks.boolean("batch_normalization", batch_normalization),
            "spectral_normalization": checks.boolean(
                "spectral_normalization", spectral_normalization
            ),
        }
        _check_steps(steps, hidden_sizes)
        factored = checks.boolean("factored", factored)
        seed = checks.seed("seed", seed)
        feature_scale = checked_scale(feature_scale, hidden_sizes)
        if num_conditions is not None and not batch_normalization:
            raise ValueError(
                "`num_conditions` is the number of sets of batch normalization's statistics and "
                f"needs `batch_normalization=True`. Received: num_conditions={num_conditions}"
            )
        super().__init__(
            spec, num_conditions=num_conditions, initialization=initialization, **kwargs
        )
        self.hidden_sizes = hidden_sizes
        self.feature_scale = feature_scale
        self.activation = activation
        self.use_bias = use_bias
        self.dropout = dropout
        self.batch_normalization = steps["batch_normalization"]
        self.momentum = momentum
        self.epsilon = epsilon
        self.spectral_normalization = steps["spectral_normalization"]
        of_variables = checks.from_keras(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            head_kernel_initializer=head_kernel_initializer,
            head_bias_initializer=head_bias_initializer,
            head_kernel_regularizer=head_kernel_regularizer,
            head_bias_regularizer=head_bias_regularizer,
        )
        for argument, value in of_variables.items():
            setattr(self, argument, value)
        self.factored = factored
        self.seed = seed
        self.trunk = [self._hidden_layer(i, size) for i, size in enumerate(hidden_sizes)]
        self.head = keras.layers.Dense(
            self.spec.total,
            use_bias=self.use_bias,
            kernel_initializer=fresh(self.head_kernel_initializer) or small(),
            bias_initializer=fresh(self.head_bias_initializer) or "zeros",
            kernel_regularizer=self.head_kernel_regularizer,
            bias_regularizer=self.head_bias_regularizer,
            dtype=self.dtype_policy,
            name=unique_name("head"),
        )

    def _hidden_layer(self, i, size):
        normalization = {"momentum": self.momentum, "epsilon": self.epsilon}
        return HiddenLayer(
            size,
            activation=self.activation,
            dropout=self.dropout,
            batch_normalization=normalization if self.batch_normalization else None,
            num_conditions=self.num_conditions,
            spectral_normalization=self.spectral_normalization,
            seed=checks.next_seed(self.seed, i),
            scale=self.feature_scale if i == len(self.hidden_sizes) - 1 else 1.0,
            use_bias=self.use_bias,
            kernel_initializer=fresh(self.kernel_initializer) or "glorot_uniform",
            bias_initializer=fresh(self.bias_initializer) or "zeros",
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            dtype=self.dtype_policy,
        )

    @property
    def first(self):
        return functools.partial(backend.dense, self.trunk[0].dense if self.trunk else self.head)

    def after_first(self, y, condition_id=None, training=None):
        for i, layer in enumerate(self.trunk):
            step = layer if i else layer.after_dense
            y = step(y, condition_id=condition_id, training=training)
        return self._mixed(y) if self.trunk else y

    def _mixed(self, features):
        """What the head makes of features."""
        if self.head.quantization_mode is not None:
            return self.head(features)
        # Not the layer: what Keras does around it takes longer than a small product.
        # In the head's dtype: a part of another layer is called in the dtype of that one.
        dtype = self.head.compute_dtype
        y = backend.matmul(cast(features, dtype), ops.cast(self.head.kernel, dtype))
        return y + ops.cast(self.head.bias, dtype) if self.use_bias else y

    def features_size(self, conditioning_size: int | None) -> int | None:
        """Number of features that the head mixes."""
        return self.hidden_sizes[-1] if self.hidden_sizes else conditioning_size

    @property
    def starts_from_base(self):
        return not self.use_bias

    def initializers(self, initialization):
        return initialization.of_perceptron(self, self.spec, self.input_sizes)

    def given_initializers(self):
        parts = [("", layer.dense) for layer in self.trunk] + [("head_", self.head)]
        return {
            (id(layer), variable)
            for prefix, layer in parts
            for variable in ("kernel", "bias")
            if getattr(self, f"{prefix}{variable}_initializer") is not None
        }

    def build(self, conditioning_shape: Shape | dict[str, Shape]) -> None:
        super().build(conditioning_shape)
        shape = (None, sum(self.input_sizes.values()))
        for layer in self.trunk:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.head.build(shape)

    def call(
        self, conditioning: Conditioning, factored: bool | None = None, training: bool | None = None
    ) -> Weights:
        given = inputs.as_dict(conditioning)
        features, ids = inputs.join(given), given.get("condition_id")
        if ids is not None:
            (features,) = inputs.share_rows([features], witnesses=[ids])
        for layer in self.trunk:
            features = layer(features, condition_id=ids, training=training)
        if not self._is_factored(factored):
            return self.plus_base(self._mixed(features))
        if self.use_bias:
            bias = self.head.bias
        else:
            bias = self.plus_base(ops.zeros((self.spec.total,), self.compute_dtype))
        kernel = self.head.kernel
        if self.head.quantization_mode is not None:  # its variable holds integers
            size = ops.shape(features)[-1]
            kernel = self.head(ops.eye(size, dtype=self.compute_dtype)) - bias
        # Copies: what a variable holds now is moved or freed by the next step of `fit`.
        return {"basis": ops.copy(kernel), "features": features, "offset": ops.copy(bias)}

    def compute_output_shape(
        self, conditioning_shape: Shape | dict[str, Shape]
    ) -> Shape | dict[str, Shape]:
        return self._output_shape(conditioning_shape, self.factored)

    def compute_output_spec(self, conditioning, factored=None, training=None):
        shapes = {name: x.shape for name, x in inputs.as_dict(conditioning).items()}
        shapes = self._output_shape(shapes, self._is_factored(factored))
        return specs_of(shapes, self.compute_dtype)

    def _output_shape(self, conditioning_shape, factored):
        if not factored:
            return super().compute_output_shape(conditioning_shape)
        shapes = inputs.as_dict(conditioning_shape)
        features = self.features_size(sum(inputs.sizes(shapes).values()))
        return factored_shapes(inputs.rows(shapes), features, self.spec.total)

    def _is_factored(self, factored):
        return self.factored if factored is None else checks.boolean("factored", factored)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**options.with_feature_scale(config))

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "hidden_sizes": list(self.hidden_sizes),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "batch_normalization": self.batch_normalization,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "num_conditions": self.num_conditions,
            "spectral_normalization": self.spectral_normalization,
            "factored": self.factored,
            "seed": self.seed,
            "feature_scale": self.feature_scale,
            **{name: serialize(getattr(self, name)) for name, serialize in _SERIALIZED.items()},
        }


def small():
    """The start of a head's kernel where there is no initialization."""
    return keras.initializers.RandomUniform(-0.01, 0.01)


def _check_steps(steps, hidden_sizes):
    """What follows the hidden layers has no meaning without any."""
    meant = [name for name, value in steps.items() if value]
    if meant and not hidden_sizes:
        raise ValueError(
            f"`{meant[0]}` is of the hidden layers, and `hidden_sizes` has none: give some, or "
            f"leave it out. Received: {meant[0]}={steps[meant[0]]!r}, hidden_sizes=()"
        )


_SERIALIZED = {
    f"{part}{of}_{kind}": getattr(keras, f"{kind}s").serialize
    for part in ("", "head_")
    for of in ("kernel", "bias")
    for kind in ("initializer", "regularizer")
}
