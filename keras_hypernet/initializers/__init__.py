"""How generators start, so that targets start well."""

from keras_hypernet.initializers.bias_hyper_init import BiasHyperInit as BiasHyperInit
from keras_hypernet.initializers.hyper_fan import HyperFanHarmonic as HyperFanHarmonic
from keras_hypernet.initializers.hyper_fan import HyperFanIn as HyperFanIn
from keras_hypernet.initializers.hyper_fan import HyperFanOut as HyperFanOut
from keras_hypernet.initializers.initializations import initialize as initialize
