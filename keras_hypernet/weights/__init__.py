"""The tensors of a target, and the forms of generated weights: flat, factored, low rank."""

from keras_hypernet.weights.converter import convert_weights as convert_weights
from keras_hypernet.weights.forms import pack_weights as pack_weights
from keras_hypernet.weights.forms import split_weights as split_weights
from keras_hypernet.weights.spec import WeightSpec as WeightSpec
