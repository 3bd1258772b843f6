"""`HyperModel`: a functional model with generated weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_hypernet.layers.hyper_layer import Untracked
from keras_hypernet.models.describer import describe
from keras_hypernet.models.once_per_condition import OncePerCondition, distinct_rows
from keras_hypernet.utils import backend, checks, keras_internals
from keras_hypernet.utils.tables import shortened
from keras_hypernet.utils.types import Nest, Tensor

_FORMS = {"factored": "factored: offset + features @ basis", "flat": "flat"}


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperModel(keras.Model):
    """A functional Keras model that `predict`s with one run of its generator per condition.

    `hypernetize` and `build` return one; it is made of inputs and outputs as any `keras.Model`.
    Where an array of conditions has each of them twice or more on average, `predict` generates the
    weights of each once, from the present values of all variables, and looks them up for the rows
    of data. It does as any model where there is a single batch, `steps` or `callbacks`, where data
    are no arrays, and where generated weights are random.

    Args:
        inputs, outputs: Structures of KerasTensors.
        name: Of the model.
        **kwargs: `trainable`.

    Call arguments:
        inputs: Tensors in the structure of the inputs, with their shapes and dtypes.
        training, mask: As in `keras.Model`.

    Returns:
        Tensors in the structure of the outputs.

    Raises:
        ValueError: as `keras.Model` does, on unknown arguments, and from `predict` where arrays
            have unequal numbers of rows.

    Example:

    >>> z, x = keras.Input((4,)), keras.Input((3,))
    >>> weights = kh.WeightGenerator([(3, 2), (2,)])(z)
    >>> model = kh.HyperModel([z, x], kh.Hyper(keras.layers.Dense(2))(x, weights))
    >>> users = np.repeat(np.random.normal(size=(5, 4)), 200, axis=0)
    >>> model.predict([users, np.ones((1000, 3))], verbose=0).shape  # generates 5 sets of weights
    (1000, 2)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106).
    """

    @keras_internals.as_functional
    def __init__(
        self, inputs: Nest, outputs: Nest, name: str | None = None, **kwargs: bool
    ) -> None:
        name = name if name is None else checks.name("name", name)
        checks.known_keys("kwargs", kwargs, ("trainable",))
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._once = Untracked(None)

    def call(
        self, inputs: Nest, training: Tensor = None, mask: Nest = None, **kwargs: Nest
    ) -> Nest:
        self._check_widths(inputs)
        return super().call(inputs, training=training, mask=mask, **kwargs)

    def predict(
        self,
        x: Nest,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
    ) -> Nest:
        """As `keras.Model.predict`, with one run of the generator per condition."""
        self._check_widths(x)  # here too: TensorFlow may trace with a width of any size
        _check_lengths(x)
        if batch_size is not None:
            batch_size = checks.count("batch_size", batch_size)
        if steps is None and not callbacks:
            outputs = self._with_weights_once(x, batch_size=batch_size or 32, verbose=verbose)
            if outputs is not None:
                return outputs
        return super().predict(
            x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks
        )

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], None] | None = None,
        **kwargs: Nest,
    ) -> None:
        """As `keras.Model.summary`, and a line for each generator: what it generates for whom.

        Factored weights are three tensors in the table of Keras, which that line explains.
        """
        super().summary(line_length, positions, print_fn, **kwargs)
        lines = [
            f" {row['generator']} -> {shortened(row['target'].split(', '), ', ')}: "
            f"{row['weights']:,} weights per condition ({_FORMS[row['form'].split()[0]]})"
            for row in describe(self)
        ]
        if lines:
            (print_fn or print)("\n".join([" Generated:", *lines]))

    def export(self, *args: Nest, **kwargs: Nest) -> None:
        """As `keras.Model.export`."""
        with backend.constants_in_graph():
            super().export(*args, **kwargs)

    def _check_widths(self, inputs):
        """Raises where an input has one entry for several: Keras broadcasts these."""
        symbols = keras_internals.functional(self).inputs
        for x, symbol in zip(_in_order(inputs, symbols), symbols):
            shape, expected = tuple(getattr(x, "shape", None) or ()), symbol.shape
            if len(shape) == len(expected) > 1 and shape[-1] == 1 != (expected[-1] or 1):
                order = ", ".join(f"{_name(s)} {tuple(s.shape)}" for s in symbols)
                raise ValueError(
                    f"Input {_name(symbol)!r} of {self.name!r} must have {expected[-1]} entries "
                    f"on its last axis. The inputs are, in this order: {order}. "
                    f"Received: shape {shape}"
                )

    def _with_weights_once(self, x, batch_size, verbose):
        """Outputs, where weights are to be generated once per condition; else `None`."""
        arrays = self._arrays(x)
        if arrays is None or len(arrays[0]) <= batch_size:
            return None
        if self._once.value is None or self.predict_function is None:
            # As Keras compiles anew after `compile` and `quantize`, which leave `None` there.
            self._once = Untracked(OncePerCondition(self))
            self.make_predict_function()
        once = self._once.value
        if not once.possible:
            return None
        distinct = distinct_rows(once.conditions(arrays))
        if 2 * len(distinct[0]) > len(arrays[0]):
            return None
        return once.predict(arrays, distinct, batch_size=batch_size, verbose=verbose)

    def _arrays(self, x):
        """NumPy arrays of equal length, one per input; `None` where data are something else."""
        inputs = keras_internals.functional(self).inputs
        found = _in_order(x, inputs)
        if len(found) != len(inputs) or self._has_own_calls():
            return None
        if not all(isinstance(a, np.ndarray) or ops.is_tensor(a) for a in found):
            return None
        found = [ops.convert_to_numpy(array) for array in found]
        fit = all(
            a.dtype.kind in "biuf" and checks.fits(a.shape, s.shape) for a, s in zip(found, inputs)
        )
        return found if fit and len({len(array) for array in found}) == 1 else None

    def _has_own_calls(self):
        """Whether a subclass, or somebody, does something else where Keras predicts."""
        names = ("__call__", "call", "predict_step", "stateless_call", "make_predict_function")
        known = {name: getattr(HyperModel, name, None) for name in names}
        other = any(getattr(type(self), name, None) is not known[name] for name in names)
        return other or not vars(self).keys().isdisjoint(names)


def _name(symbol):
    return keras_internals.producer(symbol).name


def _in_order(nest, symbols):
    """The tensors that a model is fed, as a list in the order of its inputs."""
    if isinstance(nest, dict):
        return [nest.get(_name(symbol)) for symbol in symbols]
    return list(nest) if isinstance(nest, (list, tuple)) else [nest]


def _check_lengths(x):
    """Raises where arrays have unequal numbers of rows, of which Keras makes no batches."""
    parts = list(x.values()) if isinstance(x, dict) else x
    if not isinstance(parts, (list, tuple)) or not all(getattr(a, "shape", ()) for a in parts):
        return
    lengths = [a.shape[0] for a in parts]
    if len(set(lengths)) > 1:
        raise ValueError(
            "`x` must have as many rows in all arrays. Repeat conditions for their rows of data, "
            "`np.repeat(conditions, n, axis=0)`, or use `kh.GroupedDataset`; only a direct call "
            f"takes fewer conditions. Received: {lengths} rows"
        )
