"""The base of the hyper layers that normalize."""

import keras
from keras import ops

from keras_hypernet.layers.hyper_twin import HyperTwin
from keras_hypernet.ops import rows
from keras_hypernet.utils.naming import unique_name


class HyperNormalization(HyperTwin):
    """Normalized data times a generated scale plus a generated offset, along axes of the data.

    A subclass gives `normalize(x, **kwargs)`, which leaves data as it would be with a scale of one
    and an offset of zero.
    """

    tensors: tuple[str, ...] = ("gamma", "beta")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not self.tensor_names:
            raise ValueError(
                "`center` or `scale` must be True: there would be no weights. "
                "Received: center=False, scale=False"
            )

    def axes(self, rank):
        """Axes of the data, in the order in which the twin's weights have them."""
        axis = self.twin_layer().axis
        return [a % rank for a in sorted(axis if isinstance(axis, (list, tuple)) else [axis])]

    def weight_shapes(self, x_shape):
        self.twin_layer().compute_output_shape(x_shape)  # raises on axes that there are not
        axes = self.axes(len(x_shape))
        shape = tuple(x_shape[axis] for axis in axes)
        if None in shape:
            raise ValueError(f"The axes {axes} of `x` must be known. Received: shape {x_shape}")
        return dict.fromkeys(self.tensor_names, shape)

    def build(self, x_shape, weights_shape, **others):
        super().build(x_shape, weights_shape, **others)
        axis = self.twin_layer().axis
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        self.input_spec = keras.InputSpec(axes={a: x_shape[a] for a in axes})

    def apply(self, x, tensors, **kwargs):
        y, axes = self.normalize(x, **kwargs), self.axes(len(x.shape))
        for name, tensor in tensors.items():
            tensor = ops.cast(tensor, y.dtype)
            if name == "beta":
                y = rows.add(y, tensor, axes)
            else:
                y = rows.apply(ops.multiply, y, tensor, axes)
        return y


class HyperNormalizationByTwin(HyperNormalization):
    """Normalizes by a layer of the twin's class without scale and offset, which has its state."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        config = {**self.twin_layer().get_config(), "center": False, "scale": False}
        config |= {"name": unique_name("normalization"), "trainable": self.trainable}
        self.normalization = self.twin.from_config({**config, "dtype": self.dtype_policy})

    def build(self, x_shape, weights_shape):
        super().build(x_shape, weights_shape)
        self.normalization.build(x_shape)

    def normalize(self, x, **kwargs):
        return self.normalization(x, **kwargs)
