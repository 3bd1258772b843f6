"""`DenseOrders`: the orders in which the dense kernels inside a layer are contracted."""

from keras_hypernet.layers import named_weights
from keras_hypernet.ops import contractions
from keras_hypernet.weights import forms


class DenseOrders:
    """In which order products of data and factored kernels are computed.

    Args:
        contraction: As in `Hyper`.
        inside: What the layer has `Inside`.
        penalized: Names of its tensors that regularizers need for every row.
    """

    def __init__(self, contraction, inside, penalized):
        self.contraction, self.itself = contraction, inside.itself
        self.kernels = {
            p.name: p
            for p in inside.parameters
            if p.leaf and p.local in p.leaf.rule.contracts and p.name not in penalized
        }
        self.penalized = penalized
        self.positions = {}  # leaf -> data positions for a row of weights, where it was known
        self.built_shapes = None  # of data and weights, of which TensorFlow hides some later

    def check(self, weights_shape, layer):
        """Raises where the asked order has no meaning for weights of a shape."""
        if self.contraction in ("auto", "materialize"):
            return
        if self.penalized:
            raise ValueError(
                "`contraction` must be 'auto' or 'materialize' with regularizers, which need the "
                f"weights of every row. Received: contraction={self.contraction!r}"
            )
        if not self.kernels:
            raise ValueError(
                "`contraction` must be 'auto' or 'materialize' for a layer without dense kernels. "
                f"Received: contraction={self.contraction!r}, layer={layer!r}"
            )
        entries = [_entry(name, weights_shape) for name in self._given(weights_shape)]
        dense = [entry for entry in entries if not named_weights.is_update(entry)]
        contractions.check_form(self.contraction, not dense or any(map(forms.is_factored, dense)))

    def saves_work(self, shapes, features):
        """Whether an order beats building the kernels of so many features."""
        return any(
            contractions.choose(*shapes[name], features) != "materialize"
            for name in self.kernels
            if name in shapes
        )

    def build(self, x_shape, weights_shape):
        self.built_shapes = (x_shape, weights_shape)
        self.chosen()

    def order(self, leaf, x_shape, weights_shape):
        """In which order a leaf contracts data and weights of static shapes.

        Data of shape `None` are as many as it was called on before, or one for each row.
        """
        if not forms.is_factored(weights_shape):
            return "materialize"
        if self.contraction != "auto":
            return self.contraction
        positions = self._positions(leaf, x_shape, weights_shape["features"][0])
        return contractions.choose(*leaf.layer.kernel.shape, weights_shape["basis"][0], positions)

    def _positions(self, leaf, x_shape, count):
        """Data positions for a row of weights; `None` where they are not known."""
        if x_shape is None:
            return self.positions.get(leaf.name, 1)
        # A size that is not known may be a symbol.
        sizes = (*x_shape, count)
        *x_shape, count = [size if isinstance(size, int) else None for size in sizes]
        positions = contractions.positions(x_shape, count)
        if None in x_shape[:-1]:
            return self.positions.setdefault(leaf.name, positions)
        return positions

    def _given(self, weights_shape):
        """The kernels that there are weights for."""
        if not named_weights.is_named(weights_shape):
            return self.kernels
        return {name: p for name, p in self.kernels.items() if name in weights_shape}

    def chosen(self, x_shape=None, weights_shape=None):
        """What shapes, or those that the layer was built with, choose, in words."""
        if x_shape is None:
            x_shape, weights_shape = self.built_shapes
        orders = []
        for name, p in self._given(weights_shape).items():
            entry = _entry(name, weights_shape)
            shape = x_shape if p.leaf is self.itself else None
            update = named_weights.is_update(entry)
            orders.append("low rank" if update else self.order(p.leaf, shape, entry))
        return ", ".join(dict.fromkeys(orders)) or "materialize"


def _entry(name, weights):
    """A tensor's part of weights, or of their shapes, in any form."""
    return weights[name] if named_weights.is_named(weights) else weights
