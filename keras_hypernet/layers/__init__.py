"""Keras layers whose weights are an input of the call."""

from keras_hypernet.layers.apply_generated_weights import (
    ApplyGeneratedWeights as ApplyGeneratedWeights,
)
from keras_hypernet.layers.hyper import Hyper as Hyper
from keras_hypernet.layers.rules import Rule as Rule
from keras_hypernet.layers.rules import register_rule as register_rule
