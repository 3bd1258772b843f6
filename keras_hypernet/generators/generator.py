"""What all generators do alike."""

import keras

from keras_hypernet import checks
from keras_hypernet.spec import WeightSpec


class Generator(keras.layers.Layer):
    """A layer that maps a conditioning to the weights of a target.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
    """

    def __init__(self, spec, **kwargs):
        spec = WeightSpec.of(spec)
        super().__init__(**kwargs)
        self.spec = spec
        self.conditioning_size = None

    def __call__(self, conditioning, *args, **kwargs):
        self.check_conditioning(conditioning)
        return super().__call__(conditioning, *args, **kwargs)

    def check_conditioning(self, conditioning):
        """Raises on an input that this generator does not take, before anything is built."""
        check_conditioning(conditioning)
        checks.last_axis("conditioning", conditioning.shape, self.conditioning_size)

    def get_config(self):
        return {**super().get_config(), "spec": self.spec.get_config()}


def check_conditioning(conditioning):
    """Conditioning is a floating `(rows, size)`."""
    checks.tensor("conditioning", conditioning)
    checks.float_tensor(
        "conditioning",
        conditioning,
        hint=" For integer ids use `ConditionEmbedding` or `TaskWeights`.",
    )
    checks.rank(
        "conditioning",
        conditioning.shape,
        2,
        hint=" Flatten or pool what has more, such as an image.",
    )
