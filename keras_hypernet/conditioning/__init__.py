"""What feeds generators: ids and data, with what is done to them first."""

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding as ConditionEmbedding
from keras_hypernet.conditioning.encodings import FourierFeatures as FourierFeatures
from keras_hypernet.conditioning.encodings import UnitNormEncoding as UnitNormEncoding
from keras_hypernet.conditioning.grouped_dataset import GroupedDataset as GroupedDataset
from keras_hypernet.conditioning.ids import UnknownIds as UnknownIds
from keras_hypernet.conditioning.running_scale import RunningScale as RunningScale
