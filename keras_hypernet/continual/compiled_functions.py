"""`CompiledFunctions`: several compiled functions of a model, where Keras keeps one."""

from keras_hypernet.utils import backend


class CompiledFunctions:
    """The functions that a model has compiled for one of its steps, by what they are for.

    Args:
        name: What the model calls the function: `"test"` or `"predict"`.
    """

    def __init__(self, name):
        self.attribute, self.step = f"{name}_function", f"{name}_step"
        self.functions = {}

    def make(self, model, key, make, force):
        """Gives a model its function of a key: the one that there is, or a new one of Keras."""
        if force or getattr(model, self.attribute) is None:  # Keras wants none of before
            self.functions.clear()
        setattr(model, self.attribute, self.functions.get(key))
        with backend.own_step(model, self.step):
            make(force)
        self.functions[key] = getattr(model, self.attribute)
        return self.functions[key]
