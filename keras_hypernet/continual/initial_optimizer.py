"""`InitialOptimizer`: what an optimizer was when it was compiled."""

import json

import keras


class InitialOptimizer:
    """Remembers how an optimizer starts, its learning rate too, to start it anew later.

    Args:
        optimizer: The optimizer, not used yet.
    """

    def __init__(self, optimizer):
        # As text: Keras takes out of a config what it has read.
        self.text = json.dumps(keras.saving.serialize_keras_object(optimizer))

    @property
    def config(self):
        return json.loads(self.text)

    def values(self, optimizer, trainable):
        """`[(variable of the optimizer, what it starts from)]`; nothing is assigned."""
        fresh = keras.saving.deserialize_keras_object(self.config)
        fresh.build(trainable)
        return list(zip(optimizer.variables, fresh.variables, strict=True))
