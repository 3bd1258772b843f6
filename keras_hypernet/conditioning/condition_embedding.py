"""`ConditionEmbedding`: ids of conditions -> learned vectors."""

from __future__ import annotations

from typing import Self, Unpack

import keras

from keras_hypernet.conditioning import capacity
from keras_hypernet.conditioning.ids import UNKNOWN, IdWatch, as_ids, check_ids, look_up
from keras_hypernet.utils import checks
from keras_hypernet.utils.naming import unique_name
from keras_hypernet.utils.trainable_flags import CompositeLayer
from keras_hypernet.utils.types import (
    Config,
    InitializerLike,
    LayerArguments,
    RegularizerLike,
    Shape,
    Tensor,
)


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ConditionEmbedding(CompositeLayer):
    """One learned vector per condition: `vector = table[id]`.

    Args:
        num_conditions: Number of conditions; ids are `0 ... num_conditions - 1`.
        size: Width of a vector.
        embeddings_initializer: Of the table. `None` is N(0, 1), the field's convention.
        embeddings_regularizer: Of the table.
        unknown: What an id does that no condition has. `"error"`: it is refused where its value
            can be read; in a compiled call it gets the mean vector, and `fit` and `evaluate` warn
            of it, `predict` with the callback `UnknownIds`. `"mean"`: it gets the mean vector.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        ids: `(batch,)`, of an integer dtype: `keras.Input((), dtype="int32")` in a model. Also a
            single integer, or a list of them. To an integer input of a model Keras casts what it is
            fed: 1.7 is the id 1 there.

    Returns:
        `(batch, size)`.

    Raises:
        TypeError: if ids are not of an integer dtype.
        ValueError: if ids have another rank, or are out of range where their values can be read:
            in direct calls, and everywhere on PyTorch unless it compiles.

    Example:

    >>> embedding = kh.ConditionEmbedding(num_conditions=10, size=8)
    >>> keras.ops.shape(embedding(np.array([3, 3, 7])))
    (3, 8)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695): task embeddings.
    """

    def __init__(
        self,
        num_conditions: int,
        size: int,
        embeddings_initializer: InitializerLike = None,
        embeddings_regularizer: RegularizerLike = None,
        unknown: str = "error",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        num_conditions = checks.positive_int("num_conditions", num_conditions)
        size = checks.positive_int("size", size)
        checks.choice("unknown", unknown, UNKNOWN)
        if embeddings_initializer is None:
            embeddings_initializer = keras.initializers.RandomNormal(stddev=1.0)
        super().__init__(**kwargs)
        self.num_conditions = num_conditions
        self.size = size
        self.unknown = unknown
        self.embeddings_initializer = checks.initializer(
            "embeddings_initializer", embeddings_initializer
        )
        self.embeddings_regularizer = checks.regularizer(
            "embeddings_regularizer", embeddings_regularizer
        )
        self.table = keras.layers.Embedding(
            num_conditions,
            size,
            embeddings_initializer=self.embeddings_initializer,
            embeddings_regularizer=self.embeddings_regularizer,
            dtype=self.dtype_policy,
            name=unique_name("table"),
        )
        self.owned = False  # whether it is part of another layer
        self.watch = IdWatch(num_conditions, self.name)

    def __call__(self, ids, *args, **kwargs):
        ids = as_ids(ids)
        check_ids(ids, self.num_conditions, self.unknown)
        return super().__call__(ids, *args, **kwargs)

    def build(self, ids_shape: Shape) -> None:
        checks.rank("ids", ids_shape, 1)
        self.table.build(ids_shape)

    def call(self, ids: Tensor) -> Tensor:
        if not self.owned and self.unknown == "error":
            self.watch.notice(ids)
        return look_up(self.table, self.num_conditions, ids)

    def compute_output_shape(self, ids_shape: Shape) -> Shape:
        return (*ids_shape, self.size)

    @property
    def conditional_variables(self) -> list[keras.Variable]:
        """Trainable variables with a row for every condition."""
        return [self.table.embeddings]

    def with_conditions(self, num_conditions: int, start: str = "initializer") -> Self:
        """A new layer with room for more conditions and the vectors of this one.

        It has this one's name. `kh.with_conditions` puts it into a model around it.

        Args:
            num_conditions: New number of conditions, not below the old one.
            start: What a new condition has at first: `"initializer"`, what that of the table
                gives, or `"mean"`, the mean of the old vectors.
        """
        return capacity.with_conditions(self, num_conditions, start)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_conditions": self.num_conditions,
            "size": self.size,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": keras.regularizers.serialize(self.embeddings_regularizer),
            "unknown": self.unknown,
        }
