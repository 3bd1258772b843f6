"""How layers of Keras run on weights of their own for every row: a rule for each family."""

from keras_hypernet.layers.rules import convolution as convolution
from keras_hypernet.layers.rules import dense as dense
from keras_hypernet.layers.rules import depthwise as depthwise
from keras_hypernet.layers.rules import einsum as einsum
from keras_hypernet.layers.rules import embedding as embedding
from keras_hypernet.layers.rules import normalization as normalization
from keras_hypernet.layers.rules import prelu as prelu
from keras_hypernet.layers.rules import separable as separable
from keras_hypernet.layers.rules import transposed as transposed
from keras_hypernet.layers.rules.rule import Rule as Rule
from keras_hypernet.layers.rules.rule import has_own_rule as has_own_rule
from keras_hypernet.layers.rules.rule import is_adapted as is_adapted
from keras_hypernet.layers.rules.rule import register_rule as register_rule
from keras_hypernet.layers.rules.rule import rule_of as rule_of
