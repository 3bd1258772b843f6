"""The rule of `PReLU`: `y[b] = max(x[b], 0) + alpha[g] * min(x[b], 0)`."""

from keras import layers, ops

from keras_hypernet.layers.rules.rule import Rule, register_rule
from keras_hypernet.ops import rows


class PReLURule(Rule):
    """Slopes below zero, of all axes of the data."""

    def apply(self, layer, x, tensors):
        return rows.apply(_prelu, x, tensors["alpha"], range(1, len(x.shape)))


def _prelu(x, alpha):
    return ops.relu(x) - alpha * ops.relu(-x)


register_rule(layers.PReLU, PReLURule)
