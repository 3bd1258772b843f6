"""Names of types for annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypedDict

import keras

# A tensor of the backend, a KerasTensor or a NumPy array: Keras has no class of them all.
Tensor: TypeAlias = Any

# One tensor, or the parts of one: factored, of low rank, or tensor by tensor.
TensorsByName: TypeAlias = dict[str, Tensor]
Weights: TypeAlias = Tensor | dict[str, Tensor | TensorsByName]
Conditioning: TypeAlias = Tensor | TensorsByName
Nest: TypeAlias = Tensor | Sequence[Tensor] | TensorsByName

Shape: TypeAlias = tuple[int | None, ...]
FullShape: TypeAlias = tuple[int, ...]
WeightShapes: TypeAlias = Shape | dict[str, Shape | dict[str, Shape]]
LayerSizes: TypeAlias = Sequence[tuple[int, int]]
DType: TypeAlias = str | keras.DTypePolicy
Config: TypeAlias = dict  # what JSON holds
Store: TypeAlias = dict[str, Tensor]  # arrays of a file

ActivationLike: TypeAlias = str | Callable[[Tensor], Tensor] | None
InitializerLike: TypeAlias = str | keras.initializers.Initializer | Config | None
RegularizerLike: TypeAlias = str | keras.regularizers.Regularizer | Config | None
Variables: TypeAlias = list[keras.Variable]

Select: TypeAlias = str | Sequence[str] | Callable[[str, keras.Variable], bool] | None

AssemblyLike: TypeAlias = (
    dict[str, str | dict[str, object]] | Callable[[TensorsByName], TensorsByName] | Config
)
Perturbation: TypeAlias = str | TensorsByName


class LayerArguments(TypedDict, total=False):
    """What every Keras layer takes."""

    name: str | None
    dtype: DType | None
    trainable: bool
    autocast: bool
    activity_regularizer: RegularizerLike
