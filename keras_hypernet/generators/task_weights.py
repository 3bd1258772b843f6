"""`TaskWeights`: ids of tasks -> weights, the generator once per task."""

import keras
from keras import ops

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.conditioning.ids import check_ids, look_up
from keras_hypernet.generators.generator import Generator
from keras_hypernet.utils import checks
from keras_hypernet.weights.forms import factored_shapes, materialize


@keras.saving.register_keras_serializable(package="keras_hypernet")
class TaskWeights(Generator):
    """Embeds task ids and generates their weights, once per task instead of once per sample.

    `features = one_hot(ids)`, `basis = generator(embedding of every task)`: a batch costs one run
    of the generator over `num_conditions` rows, whatever its size. That pays while there are fewer
    tasks than the generator has features (its last hidden width), and is done only then: else each
    id is looked up and the generator's own features and basis are returned. Batch normalization
    and dropout inside the generator then see tasks, each once and equally, instead of samples.

    Args:
        generator: A generator, such as `WeightGenerator`. It belongs to this layer: give it to no
            other.
        num_conditions: Number of tasks; ids are `0 ... num_conditions - 1`.
        embedding_size: Width of the learned vector of a task.
        embeddings_initializer: Of these vectors. `None` is N(0, 1).
        embeddings_regularizer: Of these vectors.
        initialization: How the generator inside starts, in place of its own `initialization`.
        unknown: What an id does that no task has, in all parts: see `ConditionEmbedding`. Its
            mean is that of the vectors, or of the weights where the generator runs once per task.
            By default that of the generator.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        ids: `(batch,)`, of an integer dtype.
        training: Whether batch normalization and dropout act as in training.

    Returns:
        Factored weights, `{"features": (batch, k), "basis": (k, total), "offset": (total,)}`.

    Raises:
        TypeError: if `generator` is not a generator, or ids are not of an integer dtype.
        ValueError: as `ConditionEmbedding`, for ids of another rank, or out of range where their
            values can be read.

    Example:

    >>> tasks = kh.TaskWeights(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)
    >>> y = kh.HyperDense(4)(np.ones((2, 3), "float32"), tasks(np.array([1, 7])))
    >>> keras.ops.shape(y)
    (2, 4)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """

    embeds_ids = True

    def __init__(
        self,
        generator,
        num_conditions,
        embedding_size=8,
        embeddings_initializer=None,
        embeddings_regularizer=None,
        initialization=None,
        **kwargs,
    ):
        check_without_ids(generator)
        num_conditions = checks.positive_int("num_conditions", num_conditions)
        embedding_size = checks.positive_int("embedding_size", embedding_size)
        if generator.num_conditions not in (None, num_conditions):
            raise ValueError(
                f"`num_conditions` must be that of the generator ({generator.num_conditions}). "
                f"Received: num_conditions={num_conditions}"
            )
        kwargs = {"unknown": generator.unknown, **kwargs}
        super().__init__(generator.spec, num_conditions=num_conditions, **kwargs)
        self.generator = generator
        self.embedding = ConditionEmbedding(
            num_conditions,
            embedding_size,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.embedding_size = self.embedding.size
        self.adopt(self.embedding)
        generator.start_with(initialization)
        self.adopt(generator)

    @property
    def once_per_task(self):
        """Whether the generator runs over the tasks, rather than over the batch."""
        features = self.generator.features_size(self.embedding_size)
        return features is None or self.num_conditions < features

    @property
    def conditional_variables(self):
        return [self.embedding.table.embeddings, *self.generator.conditional_variables]

    def starting_parts(self, initialization=None):
        return self.generator.starting_parts(initialization)

    def check_conditioning(self, ids):
        check_ids(ids, self.num_conditions, self.unknown)

    def ids_in(self, ids):
        return ids

    def build(self, ids_shape):
        checks.rank("ids", ids_shape, 1)
        self.embedding.build(ids_shape)
        if not self.generator.built:
            vectors = (None, self.embedding_size)
            self.generator.build(self._inside((None,), vectors))

    def _inside(self, ids, vectors):
        """The generator's inputs, or their shapes."""
        if self.generator.num_conditions is None:
            return vectors
        return {"condition": vectors, "condition_id": ids}

    def call(self, ids, training=None):
        if self.once_per_task:
            tasks = ops.arange(self.num_conditions, dtype="int32")
            inside = self._inside(tasks, self.embedding.table(tasks))
            return {
                "basis": materialize(self.generator(inside, training=training)),
                "features": self._chosen(ids),
                "offset": ops.zeros((self.spec.total,)),
            }
        inside = self._inside(ids, self.embedding(ids))
        return self.generator(inside, factored=True, training=training)

    def _chosen(self, ids):  # (batch,) -> (batch, tasks)
        """One for the task of an id; the same for all where there is none."""

        def one_hot(ids):
            return ops.one_hot(ids, self.num_conditions)

        return look_up(one_hot, self.num_conditions, ids)

    def compute_output_shape(self, ids_shape):
        size = self.num_conditions
        if not self.once_per_task:
            size = self.generator.features_size(self.embedding_size)
        return factored_shapes(ids_shape[0], size, self.spec.total)

    def get_config(self):
        config = super().get_config()
        del config["spec"], config["initialization"]  # the generator's
        table = self.embedding.get_config()
        return {
            **config,
            "generator": keras.saving.serialize_keras_object(self.generator),
            "num_conditions": self.num_conditions,
            "embedding_size": self.embedding_size,
            "embeddings_initializer": table["embeddings_initializer"],
            "embeddings_regularizer": table["embeddings_regularizer"],
        }

    @classmethod
    def from_config(cls, config):
        generator = keras.saving.deserialize_keras_object(config["generator"])
        return cls(**{**config, "generator": generator})


def check_without_ids(generator, argument="generator"):
    """A generator that may stand behind embeddings: it has none of its own for ids."""
    checks.instance(argument, generator, Generator)
    if generator.embeds_ids:
        raise TypeError(
            f"`{argument}` must be one without embeddings of conditions in front of it. "
            f"Received: {type(generator).__name__}"
        )
    if generator.owned:
        raise ValueError(
            f"`{argument}` belongs to another layer already: a saved model could not be loaded. "
            f"Make one for each. Received: {generator.name}"
        )
