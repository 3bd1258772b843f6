"""The base of the convolutions on generated weights."""

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.hyper_twin import HyperTwin
from keras_hypernet.ops import rows
from keras_hypernet.ops.conv import conv
from keras_hypernet.ops.low_rank import last_axis, low_rank
from keras_hypernet.utils import checks


class HyperConvolution(HyperTwin):
    """Windows over data, a bias and an activation.

    A subclass gives `kernel_shapes(channels)` and `convolve(x, tensors)`.
    """

    tensors: tuple[str, ...] = ("kernel", "bias")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        twin = self.twin_layer()
        if hasattr(twin, "groups"):
            checks.positive_int("groups", twin.groups)
        self._channels = None

    @property
    def channel_axis(self):
        twin = self.twin_layer()
        return 1 if twin.data_format == "channels_first" else twin.rank + 1

    @property
    def window_options(self):
        """The arguments that all operations take."""
        twin = self.twin_layer()
        names = ("strides", "padding", "dilation_rate", "data_format")
        return {name: getattr(twin, name) for name in names}

    def units(self, channels):
        """Output channels."""
        return self.twin_layer().filters

    def weight_shapes(self, x_shape):
        self._check_axes(x_shape)
        channels = x_shape[self.channel_axis]
        if channels is None:
            raise ValueError(
                f"Axis {self.channel_axis} of `x`, the channels of data with "
                f"{self.twin_layer().data_format!r}, must be known. Received: shape {x_shape}"
            )
        shapes = {**self.kernel_shapes(channels), "bias": (self.units(channels),)}
        self.twin_layer().compute_output_shape(x_shape)  # raises where no window fits
        return {name: shapes[name] for name in self.tensor_names}

    def check_shapes(self, x_shape, weights_shape):
        self._check_axes(x_shape)
        channels = x_shape[self.channel_axis]
        if self._channels is not None and channels not in (None, self._channels):
            raise ValueError(
                f"`x` must have {self._channels} channels on axis {self.channel_axis}, as the "
                f"layer was built for. Received: shape {x_shape}"
            )
        super().check_shapes(x_shape, weights_shape)

    def _check_axes(self, x_shape):
        twin = self.twin_layer()
        axes = ["*spatial"]
        axes.insert(self.channel_axis > 1, "channels")
        checks.rank("x", x_shape, twin.rank + 2, f" They are (batch, {', '.join(axes)}).")

    def build(self, x_shape, weights_shape):
        super().build(x_shape, weights_shape)
        self._channels = x_shape[self.channel_axis]

    def apply(self, x, tensors):
        y = self.convolve(x, tensors)
        if "bias" in tensors:
            y = rows.add(y, tensors["bias"], [self.channel_axis])
        return self.twin_layer().activation(y)


class HyperConv(HyperConvolution):
    """Channels in groups, each output seeing all channels of its group."""

    def kernel_shapes(self, channels):
        twin = self.twin_layer()
        if channels % twin.groups:
            raise ValueError(
                f"The channels of `x` must be divisible by `groups`. Received: {channels} channels "
                f"on axis {self.channel_axis}, groups={twin.groups}"
            )
        return {"kernel": (*twin.kernel_size, channels // twin.groups, twin.filters)}

    def updates(self, name, shape, rank):
        # With groups, `down` would need channels for each of them.
        if name == "kernel" and self.twin_layer().groups == 1:
            return last_axis(shape, rank)
        return super().updates(name, shape, rank)

    def convolve(self, x, tensors):
        kernel = tensors["kernel"]
        if named_weights.is_update(kernel):
            return low_rank(self._conv, x, kernel, axis=self.channel_axis)
        return self._conv(x, kernel)

    def _conv(self, x, kernel):
        return conv(x, kernel, groups=self.twin_layer().groups, **self.window_options)
