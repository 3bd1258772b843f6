"""Plain tensors among what generators make."""

from keras import ops

from keras_hypernet.generators.generator import Generator
from keras_hypernet.generators.options import fresh
from keras_hypernet.initializers.bias_hyper_init import start_of
from keras_hypernet.initializers.pieces import Samples
from keras_hypernet.naming import unique_name


class PlainWeights(Generator):
    """Weights that are variables: one row for all conditions, or a row for each.

    Args:
        spec: The `WeightSpec` of the tensors.
        initializers: Dict of initializers by name or role.
        regularizer: Of the weights.
        num_conditions: Number of conditions; `None` is one row for all of them.
        dtype: Dtype policy.
    """

    def __init__(self, spec, initializers, regularizer, num_conditions, dtype):
        super().__init__(
            spec, num_conditions=num_conditions, dtype=dtype, name=unique_name("plain")
        )
        self.samples = start_of(self.spec, initializers)
        self.regularizer = regularizer

    @property
    def needs_vectors(self):
        return False

    @property
    def conditional_variables(self):
        return [] if self.num_conditions is None else [self.table]

    def initializers(self, initialization):
        return []  # a start of their own

    def build(self, conditioning_shape):
        super().build(conditioning_shape)
        rows = 1 if self.num_conditions is None else self.num_conditions
        self.table = self.add_weight(
            name="weights",
            shape=(rows, self.spec.total),
            initializer=_rows(self.spec, self.samples),
            regularizer=self.regularizer,
        )

    def call(self, conditioning, training=None):
        if self.num_conditions is None:
            return ops.copy(self.table)  # never the variable itself
        return ops.take(self.table, conditioning["condition_id"], axis=0)


def _rows(spec, samples):
    """`(rows, total)`, each row drawn anew."""

    def initializer(shape, dtype=None):
        rows = [Samples(spec, [fresh(s) for s in samples])(None, dtype) for _ in range(shape[0])]
        return ops.stack(rows)

    return initializer
