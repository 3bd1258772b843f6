"""`GivenLayersModel`: a hypernetwork around the layers of a given model."""

import keras

from keras_hypernet.models.hyper_model import HyperModel
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.copying import check_made_anew


@keras.saving.register_keras_serializable(package="keras_hypernet")
class GivenLayersModel(HyperModel):
    """A functional model on layers of another model, of which not every config makes it anew.

    Where a file of it could not be loaded, none is written.
    """

    def save(self, filepath, *args, **kwargs):
        for layer in _layers_of(self):
            try:
                check_made_anew(layer)
            except ValueError as error:
                raise ValueError(
                    f"The file could not be loaded. {error} Register a function or a class of "
                    "your own with `keras.saving.register_keras_serializable()`. Or save what was "
                    "trained with `kh.save_generator(model, path)`, and load it into a model that "
                    "the same call of `hypernetize` made."
                ) from error
        return super().save(filepath, *args, **kwargs)


def _layers_of(model):
    """The layers of a functional model, those of nested ones in their place."""
    for layer in model.layers:
        nested = keras_internals.functional(layer)
        yield from [layer] if nested is None else _layers_of(nested)
