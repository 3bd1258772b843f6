"""`HeldLayer`: a Keras layer that stays frozen in files and copies."""

import inspect

import keras

from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.copying import (
    build_as,
    build_of,
    copy_built,
    copy_of,
    copy_or_itself,
    layer_of,
    without_build,
)
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.trainable_flags import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HeldLayer(CompositeLayer):
    """Calls the layer inside, and keeps in its config which parts of it are trained.

    For layers whose own config forgets it: that of `MultiHeadAttention` and of most custom layers
    has the flag of the whole layer, and the layers that it makes inside are trained again.

    Args:
        layer: A built Keras layer. The new one takes it for itself, with its name.
        **kwargs: The other arguments of a Keras layer.
    """

    def __init__(self, layer, **kwargs):
        self.call = _called_like(layer)
        super().__init__(**{"name": layer.name, "dtype": layer.dtype_policy, **kwargs})
        self.layer = layer
        self.supports_masking = layer.supports_masking
        self.autocast = layer.autocast

    def build(self, *shapes, **named_shapes):
        self.layer.trainable = self.trainable

    def compute_output_shape(self, *shapes, **named_shapes):
        return self.layer.compute_output_shape(*shapes, **named_shapes)

    def compute_output_spec(self, *args, **kwargs):
        return self.layer.compute_output_spec(*args, **kwargs)

    def compute_mask(self, inputs, previous_mask):
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self):
        layer = without_build(keras.saving.serialize_keras_object(self.layer))
        return {**super().get_config(), "layer": layer, "layer_build": build_of(self.layer)}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        layer = layer_of(config.pop("layer"))
        give_unique_path(layer)
        build_as(layer, config.pop("layer_build"))
        return cls(layer, **config)


def freezable_copy(operation):
    """A copy of a layer or operation; once it is frozen, it is so in files and copies too."""
    forgets = isinstance(operation, keras.layers.Layer) and _forgets(operation)
    return HeldLayer(copy_built(operation)) if forgets else copy_or_itself(operation)


def freezable(operation):
    """The same of the layer or operation itself."""
    if not isinstance(operation, keras.layers.Layer):
        return operation
    try:
        forgets = _forgets(operation)
    except ValueError:  # no config makes it anew
        return operation
    return HeldLayer(operation) if forgets else operation


def layer_inside(layer):
    """The layer that a `HeldLayer` calls; another layer itself."""
    return layer.layer if isinstance(layer, HeldLayer) else layer


def _forgets(layer):
    """Whether a frozen layer, made anew from its config, has parts that are not frozen."""
    if isinstance(layer, CompositeLayer) or not layer.weights:
        return False
    frozen = copy_of(layer)
    frozen.trainable = False
    again = copy_of(frozen)
    build_as(again, build_of(layer))
    return any(
        inner.trainable for inner in keras_internals.layers_in(again) if inner.weights
    ) or any(variable.trainable for variable in again.weights)


def _called_like(layer):
    """`call` with the arguments of a layer's, which Keras looks at one by one."""

    def call(*args, **kwargs):
        return layer(*args, **kwargs)

    call.__signature__ = inspect.signature(layer.call)
    return call
