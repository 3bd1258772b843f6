"""`TaskWeights`: ids of tasks -> factored weights, the generator once per task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import keras

from keras_hypernet.generators.hypernetwork import Hypernetwork
from keras_hypernet.utils.types import Config, InitializerLike, RegularizerLike

if TYPE_CHECKING:
    from keras_hypernet.generators.generator import Generator
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.initializers.initialization import InitializationLike


@keras.saving.register_keras_serializable(package="keras_hypernet")
class TaskWeights(Hypernetwork):
    """Embeds task ids and generates their weights, once per task instead of once per sample.

    A `Hypernetwork` with `once_per_condition="auto", factored=True`: `features = one_hot(ids)`,
    `basis = generator(embedding of every task)`, while there are fewer tasks than the generator has
    features; else each id is looked up, and features and basis are the generator's own.

    Args:
        generator: A generator, such as `WeightGenerator`. It belongs to this layer: give it to no
            other.
        num_conditions: Number of tasks; ids are `0 ... num_conditions - 1`.
        embedding_size, embeddings_initializer, embeddings_regularizer: As in `Hypernetwork`.
        initialization: As there.
        **kwargs: `unknown`, `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: Ids `(batch,)`, of an integer dtype.
        factored: `False` for flat weights `(batch, total)`.
        training: Whether batch normalization and dropout act as in training.

    Returns:
        Factored weights, `{"features": (batch, k), "basis": (k, total), "offset": (total,)}`.

    Raises:
        TypeError: if `generator` is not a generator, or ids are not of an integer dtype.
        ValueError: as `Hypernetwork`, for ids of another rank, or out of range where their values
            can be read.

    Example:

    >>> tasks = kh.TaskWeights(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)
    >>> y = kh.Hyper(keras.layers.Dense(4))(np.ones((2, 3), "float32"), tasks(np.array([1, 7])))
    >>> keras.ops.shape(y)
    (2, 4)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """

    def __init__(
        self,
        generator: Generator,
        num_conditions: int,
        embedding_size: int = 8,
        embeddings_initializer: InitializerLike = None,
        embeddings_regularizer: RegularizerLike = None,
        initialization: InitializationLike = None,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        super().__init__(
            generator,
            num_conditions,
            embedding_size,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            initialization=initialization,
            once_per_condition="auto",
            factored=True,
            **kwargs,
        )

    def get_config(self) -> Config:
        config = super().get_config()
        for name in ("noise_size", "once_per_condition", "factored"):
            del config[name]
        return config
