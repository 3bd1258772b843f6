"""Plain Keras networks to generate weights for."""

from keras_hypernet.targets.resnets import resnet as resnet
from keras_hypernet.targets.wide_resnets import wide_resnet as wide_resnet
