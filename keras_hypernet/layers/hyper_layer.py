"""The base of all hyper layers: weights as a call input, checked before a tensor is made."""

from keras_hypernet.utils import checks
from keras_hypernet.utils.trainable_flags import CompositeLayer
from keras_hypernet.weights import forms


class Untracked:
    """Keeps an attribute out of sight of everything that tracks or saves layers."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class HyperLayer(CompositeLayer):
    """A layer without weights of its own, called as `layer(x, weights)`.

    Weights have `rows` rows, data has `batch` rows, `rows` divides `batch`, and data row `b` uses
    weight row `b // (batch // rows)`. A subclass says in `check_shapes` what shapes it takes.

    Args:
        shared: Whether the weights have a single row for the whole batch. Then the ordinary Keras
            operation runs. A row count that is 1 when the layer is called has the same effect.
    """

    def __init__(self, shared=False, **kwargs):
        shared = checks.boolean("shared", shared)
        super().__init__(**kwargs)
        self.shared = shared
        self.supports_masking = True

    def __call__(self, x, weights=None, *args, **kwargs):
        if weights is None:
            raise TypeError(
                "`weights` must be given: a hyper layer is called as `layer(x, weights)`. "
                f"Received: x={type(x).__name__}, weights=None"
            )
        self.check_tensors(x)
        self.check_call(x, weights, *args, **kwargs)
        return super().__call__(x, weights, *args, **kwargs)

    def check_call(self, x, weights, *args, **kwargs):
        """Raises on call arguments that do not fit."""
        self.check_weights(weights)
        self.check_shapes(tuple(x.shape), forms.shapes_of(weights))

    def check_tensors(self, x):
        """Raises on data that are no tensors."""
        checks.tensor("x", x)

    def check_weights(self, weights):
        """Raises on weights that are not floating tensors in a form that this layer takes."""
        forms.check_weights(weights)

    def check_row_counts(self, batch, counts):
        """Raises on static numbers of rows that break the rows rule."""
        known = _known(counts)
        if self.shared and known - {1}:
            raise ValueError(
                f"`weights` must have a single row when `shared=True`. Received: {max(known)} rows"
            )
        check_row_counts(batch, counts)

    def contracts(self, shapes, features):
        """Whether it saves work by leaving factored weights of so many features as they are.

        Args:
            shapes: `{name: shape}` of the generated tensors.
            features: Number of features.
        """
        return False

    def contractions_of(self, weights):
        """`[(name of the target layer, contraction, its weights)]`, to describe a graph."""
        return [(self.name, "materialize", weights)]

    def tensors_by_name(self, weights):
        """`{name: tensor (rows, *shape)}` of weights in any form, updates multiplied out."""
        raise TypeError(f"{type(self).__name__} does not name its weights.")

    def plain_layers(self, weights):
        """The Keras layers that do the same, one after another, for a single row of weights.

        `[(new layer, values of its parameters, values of its state)]`, to be set once it is built.
        """
        raise TypeError(f"{type(self).__name__} has no Keras layers that do the same.")

    def get_config(self):
        return {**super().get_config(), "shared": self.shared}


def check_row_counts(batch, counts):
    """Raises on static numbers of rows, of data and of tensors of weights, that break the rule."""
    known = _known(counts)
    if len(known - {1}) > 1:
        raise ValueError(
            f"The tensors of `weights` must have equal rows, or one. Received: {sorted(known)}"
        )
    for rows in known:
        if isinstance(batch, int) and (batch % rows if rows else batch):
            raise ValueError(
                "The rows of `weights` must divide the rows of `x` (data row b uses weight row "
                f"b // (batch // rows)). Received: {rows} rows of weights, "
                f"{batch} rows of data"
            )


def _known(counts):
    # Not `is not None`: while torch exports, a dynamic size is a symbol.
    return {rows for rows in counts if isinstance(rows, int)}
