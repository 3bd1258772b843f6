"""Initializers that draw anew."""

import keras


def fresh(initializer):
    """A copy: one instance gives two variables of equal shape equal values."""
    is_keras = isinstance(initializer, keras.initializers.Initializer)
    return initializer.clone() if is_keras else initializer
