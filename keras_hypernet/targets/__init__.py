"""Networks to generate weights for, and plans of the chunks to generate them in."""

from keras_hypernet.targets.chunkings import resnet_chunking as resnet_chunking
from keras_hypernet.targets.chunkings import wrn_chunking as wrn_chunking
from keras_hypernet.targets.plan_chunks import plan_chunks as plan_chunks
from keras_hypernet.targets.plan_table import parameters_of as parameters_of
from keras_hypernet.targets.plan_table import plan_table as plan_table
from keras_hypernet.targets.resnet import resnet as resnet
from keras_hypernet.targets.wide_resnet import wide_resnet as wide_resnet
