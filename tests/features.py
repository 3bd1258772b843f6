"""What the Keras at hand has. Tests of what it lacks are skipped by that, not by its version."""

import importlib.util
import inspect

import keras
import pytest

# Arguments that layers take without a name in their signature.
UNNAMED = {"name", "dtype", "trainable", "rms_scaling"}


def missing(layer_class, arguments):
    """The arguments that a class of layers does not have."""
    return set(arguments) - UNNAMED - set(inspect.signature(layer_class.__init__).parameters)


def takes(layer_class, **arguments):
    """Mark of a test for which a class of layers has to take arguments."""
    lacks = missing(layer_class, arguments)
    return pytest.mark.skipif(bool(lacks), reason=f"{layer_class.__name__} has no {lacks}")


def _takes_unused_inputs():
    used, other = keras.Input((1,), name="used"), keras.Input((1,), name="other")
    try:
        keras.Model([used, other], keras.layers.Identity(name="same")(used))
    except ValueError:
        return False
    return True


def _saves_optional_inputs():
    return "optional" in keras.layers.InputLayer((1,), name="input").get_config()


def _takes_functions_as_regularizers():
    try:
        keras.Variable(0.0, name="penalized").regularizer = abs
    except ValueError:
        return False
    return True


def _lacking(feature, what):
    return pytest.mark.skipif(not feature, reason=f"Keras {keras.__version__} has no {what}")


with_export = _lacking(
    keras.backend.backend() != "torch" or '"torch"' in keras.Model.export.__doc__,
    "export to PyTorch's format",
)
with_unused_inputs = _lacking(_takes_unused_inputs(), "models of inputs that nothing uses")
with_optional_inputs = _lacking(_saves_optional_inputs(), "`optional` in files")
with_functions_as_regularizers = _lacking(
    _takes_functions_as_regularizers(), "functions as regularizers"
)
with_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="what Keras looks up by TensorFlow"
)
