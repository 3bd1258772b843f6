"""Learning tasks one after another."""

from keras_hypernet.continual.accuracy_matrix import AccuracyMatrix as AccuracyMatrix
from keras_hypernet.continual.continual_checkpoint import ContinualCheckpoint as ContinualCheckpoint
from keras_hypernet.continual.continual_model import ContinualModel as ContinualModel
from keras_hypernet.continual.masks import head_masks as head_masks
from keras_hypernet.continual.regularizer import output_regularizer as output_regularizer
