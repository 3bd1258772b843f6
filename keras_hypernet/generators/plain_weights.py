"""`PlainWeights`: tensors that are variables, among those that generators make."""

from keras import ops

from keras_hypernet.conditioning.ids import rows_of
from keras_hypernet.generators.generator import Generator
from keras_hypernet.initializers.pieces import Samples
from keras_hypernet.utils.naming import unique_name


class PlainWeights(Generator):
    """Weights that are variables: one row for all conditions, or a row for each.

    Args:
        spec: The `WeightSpec` of the tensors.
        initialization: The `BiasHyperInit` that draws them.
        regularizer: Of the weights.
        num_conditions: Number of conditions; `None` is one row for all of them.
        dtype: Dtype policy.
    """

    def __init__(self, spec, initialization, regularizer, num_conditions, dtype):
        super().__init__(
            spec, num_conditions=num_conditions, dtype=dtype, name=unique_name("plain")
        )
        self.drawn_by = initialization  # never another one
        self.regularizer = regularizer

    @property
    def needs_vectors(self):
        return False

    @property
    def conditional_variables(self):
        return [] if self.num_conditions is None else [self.table]

    def initializers(self, initialization):
        return []

    def build(self, conditioning_shape):
        super().build(conditioning_shape)
        rows = 1 if self.num_conditions is None else self.num_conditions
        self.table = self.add_weight(
            name="weights",
            shape=(rows, self.spec.total),
            initializer=self._drawn,
            regularizer=self.regularizer,
        )

    def _drawn(self, shape, dtype=None):
        """`(rows, total)`, each row drawn anew."""
        rows = []
        for _ in range(shape[0]):
            initializers = [self.drawn_by.initializer_of(tensor) for tensor in self.spec]
            rows.append(Samples(self.spec, initializers)((self.spec.total,), dtype))
        return ops.stack(rows)

    def call(self, conditioning, training=None):
        if self.num_conditions is None:
            return ops.copy(self.table)  # never the variable itself
        return rows_of(self.table, conditioning["condition_id"])
