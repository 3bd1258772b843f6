"""`LayerwiseWeightGenerator`: one trunk for all layers of a target, one head for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import keras
import numpy as np
from keras import ops

from keras_hypernet.chunking.layer_plan import HEADS, LayerPlan
from keras_hypernet.conditioning import inputs
from keras_hypernet.generators.chunk_set import ChunkSet
from keras_hypernet.generators.conditioning_features import ConditioningFeatures
from keras_hypernet.generators.generator import Generator
from keras_hypernet.generators.weight_generator import WeightGenerator
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.types import (
    ActivationLike,
    Conditioning,
    Config,
    InitializerLike,
    RegularizerLike,
    Shape,
    Tensor,
)

if TYPE_CHECKING:
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.initializers.initialization import InitializationLike
    from keras_hypernet.weights.spec import SpecLike


@keras.saving.register_keras_serializable(package="keras_hypernet")
class LayerwiseWeightGenerator(Generator):
    """Generates a target of many equal layers: one trunk for all, one linear head for each kind.

    `weights of a layer = mlp([noise, depth, kind, condition]) @ head_kernel + head_bias`, with a
    learned vector of how deep the layer lies, one of its kind, and the head of its kind. Layers are
    of one kind if their tensors are equal, and their names but for the number of the layer:
    `block_0/attention/query`, `block_1/attention/query`... A layer without such others is a kind of
    its own. For updates of low rank in all blocks of a large model, above all.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        hidden_sizes: Widths of the trunk's layers, one or more.
        heads: `"kind"`: a head makes all tensors of a layer. `"factor"`: it makes one of them at a
            time, for which there is one more learned vector, the same for `down` (or `up`) of all
            layers. It is as wide as the largest tensor, and smaller ones take its first part.
        embedding_size: Width of each of these learned vectors.
        activation: Of the trunk: name, callable or `None`.
        dropout: Rate of the dropout after each layer of the trunk, in [0, 1).
        initialization: How the heads start, as in `StructuredWeightGenerator`. The trunk starts by
            its activation.
        feature_scale: Factor of what the trunk puts out; `None` is `1 / sqrt(last width)`.
        embeddings_initializer: Of the learned vectors. `None` is N(0, 1), the field's convention.
        embeddings_regularizer: Of the learned vectors.
        seed: Seed of the dropout.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating. Or a dict of `noise`, `condition` or both, each
            `(rows, size)` or `(1, size)`, joined in this order.
        training: Whether dropout acts as in training.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        ValueError: on arguments outside the ranges above and on conditioning of another rank.
        TypeError: on conditioning that is not floating.

    Example:

    >>> spec = {f"block_{i}/dense/kernel": (6, 4) for i in range(3)}
    >>> generator = kh.LayerwiseWeightGenerator(spec, hidden_sizes=[16])
    >>> generator.kinds
    {'block_0/dense': ['block_0/dense', 'block_1/dense', 'block_2/dense']}
    >>> keras.ops.shape(generator(np.ones((5, 2), "float32")))
    (5, 72)

    Reference: Charakorn et al., 2025, Text-to-LoRA (https://arxiv.org/abs/2506.06105), whose "L" is
    `heads="kind"` and whose "M" is `heads="factor"`.
    """

    def __init__(
        self,
        spec: SpecLike,
        hidden_sizes: Sequence[int] = (256, 256),
        heads: str = "kind",
        embedding_size: int = 32,
        activation: ActivationLike = "relu",
        dropout: float = 0.0,
        initialization: InitializationLike = "bias_hyper_init",
        feature_scale: float | None = None,
        embeddings_initializer: InitializerLike = None,
        embeddings_regularizer: RegularizerLike = None,
        seed: int | None = None,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        checks.choice("heads", heads, HEADS)
        checks.positive_ints("hidden_sizes", checks.non_empty_list("hidden_sizes", hidden_sizes))
        embedding_size = checks.positive_int("embedding_size", embedding_size)
        if embeddings_initializer is None:
            embeddings_initializer = keras.initializers.RandomNormal(stddev=1.0)
        of_embeddings = checks.from_keras(
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
        )
        super().__init__(spec, num_conditions=None, initialization=initialization, **kwargs)
        give_unique_path(self)
        self.heads = heads
        self.embedding_size = embedding_size
        self.embeddings_initializer, self.embeddings_regularizer = of_embeddings.values()
        self.plan = LayerPlan(self.spec, heads)
        trunk = ConditioningFeatures(
            hidden_sizes,
            feature_scale,
            activation=activation,
            dropout=dropout,
            seed=seed,
            dtype=self.dtype_policy,
        )
        self.chunks = ChunkSet(
            trunk,
            sum(self.plan.numbers),
            embedding_size * len(self.plan.rows),
            chunk_embeddings="given",
            num_conditions=None,
            initializer=None,
            regularizer=None,
            dtype=self.dtype_policy,
        )
        self.head_layers = [
            WeightGenerator(
                head.spec, hidden_sizes=(), initialization=None, dtype=self.dtype_policy
            )
            for head in self.plan.heads
        ]

    @property
    def kinds(self) -> dict[str, list[str]]:
        """`{first layer of a kind: [its layers]}`."""
        return {first: list(layers) for first, layers in self.plan.kinds.items()}

    @property
    def head_outputs(self) -> int:
        """The width of all heads together: of parameters, so many for each feature."""
        return self.plan.outputs

    @property
    def starts_from_base(self):
        return True

    def check_start(self, initialization):
        """A base is of the target's tensors; other starts are of the heads'."""
        names = [tensor.name for head in self.plan.heads for tensor in head.spec]
        initialization.check_names(self.spec.names if initialization.has_base else names)

    def initializers(self, initialization):
        trunk = self.chunks.generator
        slots, sizes = trunk.initializers(), {"condition": trunk.hidden_sizes[-1]}
        initialization = initialization.for_inputs(trunk.feature_scale)
        for i, head in enumerate(self.head_layers):
            start = initialization.only(head.spec.names, i)
            slots += start.of_perceptron(head, head.spec, sizes, based=True)
        return slots

    def build(self, conditioning_shape: Shape | dict[str, Shape]) -> None:
        super().build(conditioning_shape)
        self.tables = [
            self.add_weight(
                (max(rows) + 1, self.embedding_size),
                initializer=fresh(self.embeddings_initializer),
                regularizer=self.embeddings_regularizer,
                name=f"{name}_embeddings",
            )
            for name, rows in self.plan.rows.items()
        ]
        self.chunks.build_for(self.input_sizes)
        for head in self.head_layers:
            head.build((None, self.chunks.generator.hidden_sizes[-1]))

    def call(self, conditioning: Conditioning, training: bool | None = None) -> Tensor:
        given = inputs.as_dict(conditioning)
        features = self.chunks.generate(given, self._embeddings(), training)  # (rows, chunks, k)
        of_kinds = self._by_kind(features)
        made = {}
        for i, (head, layer) in enumerate(zip(self.plan.heads, self.head_layers)):
            x = of_kinds[head.kind][:, : head.number * features.shape[-1]]
            y = layer.first(ops.reshape(x, (-1, features.shape[-1])))  # (rows * number, values)
            values, runs = head.spec.total, self.plan.cuts(i)
            y = ops.reshape(y, (-1, head.number * values))
            cut = backend.split(y, [(stop - start) * values for _, start, stop in runs])
            made.update(zip(runs, cut))
        return self.plus_base(ops.concatenate([made[run] for run in self.plan.runs], axis=-1))

    def _embeddings(self):
        """Of all chunks, `(chunks, size)`."""
        rows = [np.array(rows, "int32") for rows in self.plan.rows.values()]
        return ops.concatenate([ops.take(t, r, axis=0) for t, r in zip(self.tables, rows)], axis=-1)

    def _by_kind(self, features):
        """`[(rows, chunks of the kind * k)]`: one split, for slices cost a copy of all each."""
        size = features.shape[-1]
        flat = ops.reshape(features, (-1, features.shape[1] * size))
        return backend.split(flat, [number * size for number in self.plan.numbers])

    def get_config(self) -> Config:
        trunk = self.chunks.generator
        return {
            **super().get_config(),
            "hidden_sizes": list(trunk.hidden_sizes),
            "heads": self.heads,
            "embedding_size": self.embedding_size,
            "activation": keras.activations.serialize(trunk.activation),
            "dropout": trunk.dropout,
            "feature_scale": trunk.feature_scale,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": keras.regularizers.serialize(self.embeddings_regularizer),
            "seed": trunk.seed,
        }
