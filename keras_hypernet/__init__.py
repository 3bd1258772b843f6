"""Hypernetworks for Keras 3: networks that produce the weights of other networks."""

from keras_hypernet.builder import apply_generated_weights as apply_generated_weights
from keras_hypernet.builder import build as build
from keras_hypernet.builder import build_weight_generator as build_weight_generator
from keras_hypernet.conditioning.condition_embedding import (
    ConditionEmbedding as ConditionEmbedding,
)
from keras_hypernet.describe import describe as describe
from keras_hypernet.generators.task_weights import TaskWeights as TaskWeights
from keras_hypernet.generators.weight_generator import WeightGenerator as WeightGenerator
from keras_hypernet.grouped_dataset import GroupedDataset as GroupedDataset
from keras_hypernet.layers.apply_generated_weights import (
    ApplyGeneratedWeights as ApplyGeneratedWeights,
)
from keras_hypernet.layers.hyper_dense import HyperDense as HyperDense
from keras_hypernet.spec import WeightSpec as WeightSpec
from keras_hypernet.target_weights import target_weights as target_weights
from keras_hypernet.weights import pack_weights as pack_weights
from keras_hypernet.weights import split_weights as split_weights

__version__ = "0.1.0"

__all__ = [
    "ApplyGeneratedWeights",
    "ConditionEmbedding",
    "GroupedDataset",
    "HyperDense",
    "TaskWeights",
    "WeightGenerator",
    "WeightSpec",
    "apply_generated_weights",
    "build",
    "build_weight_generator",
    "describe",
    "pack_weights",
    "split_weights",
    "target_weights",
]
