"""`DeconvWeightGenerator`: the weights are the pixels of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import keras
from keras import ops

from keras_hypernet.conditioning import inputs
from keras_hypernet.generators.blocks import image_plan, self_attention
from keras_hypernet.generators.blocks.hidden_layer import HiddenLayer
from keras_hypernet.generators.blocks.self_attention import SelfAttention2D
from keras_hypernet.generators.blocks.transposed_conv import TransposedConv
from keras_hypernet.generators.generator import Generator
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import (
    ActivationLike,
    Conditioning,
    Config,
    InitializerLike,
    RegularizerLike,
    Shape,
    Tensor,
)

if TYPE_CHECKING:
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.initializers.initialization import InitializationLike
    from keras_hypernet.weights.spec import SpecLike


@keras.saving.register_keras_serializable(package="keras_hypernet")
class DeconvWeightGenerator(Generator):
    """Generates all weights of a target as the pixels of an image, by transposed convolutions.

    A dense layer makes a small image of `filters[0]` channels, which as many transposed
    convolutions as there are `filters` grow to `image_shape`. Its pixels, channel by channel,
    are the weights; those beyond `spec.total` are dropped. The dense layer is dense, batch
    normalization, activation, and a convolution is transposed convolution, bias, batch
    normalization, activation, in this order. The last convolution has neither of the last two.

    Going back from `image_shape`, each convolution doubles its image (an odd size is rounded
    down), and keeps the size of an axis that has 4 pixels or fewer. With few filters it has few
    parameters however large the target is; the default ones are for large images (tens of millions
    of parameters). It is slow on a CPU.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        image_shape: `(width, height)` or `(width, height, channels)`, with `spec.total` pixels or
            more.
        filters: Channels after each layer but the last, whose channels are the image's: after
            the dense layer, the first transposed convolution, and so on.
        kernel_size: Of the transposed convolutions: an integer, a pair `(width, height)`, or a
            list with one of these for each. Two integers are always a pair.
        attention: Indices into `filters` of the layers that a self-attention follows, each with
            8 filters or more. `"auto"` is 1 and 3, as far as there are such. It takes memory as
            the square of the number of pixels there.
        activation: Of all layers but the last: name, callable or `None`.
        use_bias: Whether the dense layer and the transposed convolutions have biases.
        batch_normalization: Whether all layers but the last normalize their batch.
        momentum, epsilon: Of the batch normalization.
        initialization: `"bias_hyper_init"`, or a `BiasHyperInit`: the last convolution is zero at
            the start, and a frozen random base is added to the pixels. With `None` there is no
            base, and the last convolution starts as the others do.
        kernel_initializer, bias_initializer: Of all layers, those of the self-attention too.
        kernel_regularizer, bias_regularizer: Of all layers, those of the self-attention too.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating. Or a dict of `noise`, `condition` or both, each
            `(rows, size)` or `(1, size)`, joined in this order.
        training: Whether batch normalization acts as in training.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        ValueError: on an image with too few pixels, a kernel smaller than its stride, arguments
            outside the ranges above, and conditioning of another rank.
        TypeError: on arguments of another type and conditioning that is not floating.

    Example:

    >>> generator = kh.DeconvWeightGenerator([(10, 20), (20,)], (16, 16), [16, 8], attention=[1])
    >>> keras.ops.shape(generator(np.ones((5, 2), "float32")))
    (5, 220)

    Reference: von Oswald et al., 2020, Continual learning with hypernetworks
    (https://arxiv.org/abs/1906.00695); self-attention: Zhang et al., 2019, Self-Attention
    Generative Adversarial Networks (https://arxiv.org/abs/1805.08318).
    """

    def __init__(
        self,
        spec: SpecLike,
        image_shape: Sequence[int],
        filters: Sequence[int] = (1024, 512, 256, 128),
        kernel_size: int | Sequence[int] = 5,
        attention: str | Sequence[int] | None = "auto",
        activation: ActivationLike = "relu",
        use_bias: bool = True,
        batch_normalization: bool = False,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        initialization: InitializationLike = "bias_hyper_init",
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        image_shape = image_plan.image_shape_of(image_shape)
        filters = checks.positive_ints("filters", checks.non_empty_list("filters", filters))
        kernel_sizes = image_plan.kernel_sizes_of(kernel_size, len(filters))
        plan = image_plan.plan(image_shape[:2], kernel_sizes)
        attention = self_attention.check_places(attention, filters)
        activation = checks.activation("activation", activation)
        momentum = checks.fraction("momentum", momentum)
        epsilon = checks.positive_number("epsilon", epsilon)
        use_bias = checks.boolean("use_bias", use_bias)
        batch_normalization = checks.boolean("batch_normalization", batch_normalization)
        super().__init__(spec, num_conditions=None, initialization=initialization, **kwargs)
        image_plan.check_pixels(image_shape, self.spec.total)
        self.image_shape = image_shape
        self.filters = filters
        self.kernel_size = kernel_sizes
        self.attention = attention
        self.activation = activation
        self.use_bias = use_bias
        self.batch_normalization = batch_normalization
        self.momentum = momentum
        self.epsilon = epsilon
        of_variables = checks.from_keras(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
        )
        for argument, value in of_variables.items():
            setattr(self, argument, value)
        self._make_layers(*plan)

    def _make_layers(self, start_size, plans):
        self.start_shape = (self.filters[0], *start_size)
        self.dense = HiddenLayer(
            math.prod(self.start_shape), **self._steps(last=False), **self._parts()
        )
        self.dense_attention = None
        if 0 in self.attention:
            parts = self._parts()
            parts.pop("use_bias")
            self.dense_attention = SelfAttention2D(self.filters[0], **parts)
        channels = (*self.filters[1:], self.image_shape[2])
        self.convs = [
            TransposedConv(
                count,
                conv_plan,
                attention=i in self.attention,
                **self._steps(last=i == len(plans)),
                **self._parts(),
            )
            for i, (count, conv_plan) in enumerate(zip(channels, plans), 1)
        ]

    def _steps(self, last):
        """What follows a layer's weights."""
        if last:
            return {"activation": None, "batch_normalization": None}
        normalization = {"momentum": self.momentum, "epsilon": self.epsilon}
        return {
            "activation": self.activation,
            "batch_normalization": normalization if self.batch_normalization else None,
        }

    def _parts(self):
        """What a layer's weights are."""
        return {
            "use_bias": self.use_bias,
            "kernel_initializer": fresh(self.kernel_initializer),
            "bias_initializer": fresh(self.bias_initializer),
            "kernel_regularizer": self.kernel_regularizer,
            "bias_regularizer": self.bias_regularizer,
            "dtype": self.dtype_policy,
        }

    @property
    def first(self):
        return self.dense.dense

    def after_first(self, y, condition_id=None, training=None):
        y = self.dense.after_dense(y, training=training)
        image = ops.transpose(ops.reshape(y, (-1, *self.start_shape)), (0, 2, 3, 1))
        if self.dense_attention is not None:
            image = self.dense_attention(image)
        for conv in self.convs:
            image = conv(image, training=training)
        pixels = ops.reshape(ops.transpose(image, (0, 3, 1, 2)), (-1, math.prod(self.image_shape)))
        return pixels[:, : self.spec.total]

    @property
    def starts_from_base(self):
        return True

    def initializers(self, initialization):
        return initialization.of_image(self)

    def build(self, conditioning_shape: Shape | dict[str, Shape]) -> None:
        super().build(conditioning_shape)
        self.dense.build((None, sum(self.input_sizes.values())))
        channels, *sizes = self.start_shape
        shape = (None, *sizes, channels)
        if self.dense_attention is not None:
            self.dense_attention.build(shape)
        for conv in self.convs:
            conv.build(shape)
            shape = conv.compute_output_shape(shape)

    def call(self, conditioning: Conditioning, training: bool | None = None) -> Tensor:
        joined = inputs.join(inputs.as_dict(conditioning))
        return self.plus_base(self.after_first(self.first(joined), training=training))

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "image_shape": list(self.image_shape),
            "filters": list(self.filters),
            "kernel_size": [list(pair) for pair in self.kernel_size],
            "attention": list(self.attention),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "batch_normalization": self.batch_normalization,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            **{name: serialize(getattr(self, name)) for name, serialize in _SERIALIZED.items()},
        }


_SERIALIZED = {
    f"{of}_{kind}": getattr(keras, f"{kind}s").serialize
    for of in ("kernel", "bias")
    for kind in ("initializer", "regularizer")
}
