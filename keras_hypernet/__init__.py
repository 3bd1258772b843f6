"""Hypernetworks for Keras 3: networks that produce the weights of other networks."""

from keras_hypernet import targets as targets
from keras_hypernet.chunking import ChunkPlan as ChunkPlan
from keras_hypernet.chunking import plan_chunks as plan_chunks
from keras_hypernet.chunking import resnet_chunking as resnet_chunking
from keras_hypernet.chunking import wide_resnet_chunking as wide_resnet_chunking
from keras_hypernet.conditioning import ConditionEmbedding as ConditionEmbedding
from keras_hypernet.conditioning import FourierFeatures as FourierFeatures
from keras_hypernet.conditioning import GroupedDataset as GroupedDataset
from keras_hypernet.conditioning import RunningScale as RunningScale
from keras_hypernet.conditioning import UnitNormEncoding as UnitNormEncoding
from keras_hypernet.conditioning import UnknownIds as UnknownIds
from keras_hypernet.continual import AccuracyMatrix as AccuracyMatrix
from keras_hypernet.continual import ContinualCheckpoint as ContinualCheckpoint
from keras_hypernet.continual import ContinualModel as ContinualModel
from keras_hypernet.continual import head_masks as head_masks
from keras_hypernet.continual import output_regularizer as output_regularizer
from keras_hypernet.diagnosis import DiagnosisCallback as DiagnosisCallback
from keras_hypernet.diagnosis import diagnose as diagnose
from keras_hypernet.diagnosis import plot as plot
from keras_hypernet.generators import ChunkedDeconvWeightGenerator as ChunkedDeconvWeightGenerator
from keras_hypernet.generators import ChunkedWeightGenerator as ChunkedWeightGenerator
from keras_hypernet.generators import ComposedWeightGenerator as ComposedWeightGenerator
from keras_hypernet.generators import DeconvWeightGenerator as DeconvWeightGenerator
from keras_hypernet.generators import Hypernetwork as Hypernetwork
from keras_hypernet.generators import LayerwiseWeightGenerator as LayerwiseWeightGenerator
from keras_hypernet.generators import PerturbedWeightGenerator as PerturbedWeightGenerator
from keras_hypernet.generators import StructuredWeightGenerator as StructuredWeightGenerator
from keras_hypernet.generators import TaskWeights as TaskWeights
from keras_hypernet.generators import WeightGenerator as WeightGenerator
from keras_hypernet.generators import condition_variables as condition_variables
from keras_hypernet.generators import initialize_embeddings as initialize_embeddings
from keras_hypernet.generators import perturb_unconditional as perturb_unconditional
from keras_hypernet.initializers import BiasHyperInit as BiasHyperInit
from keras_hypernet.initializers import HyperFanHarmonic as HyperFanHarmonic
from keras_hypernet.initializers import HyperFanIn as HyperFanIn
from keras_hypernet.initializers import HyperFanOut as HyperFanOut
from keras_hypernet.initializers import initialize as initialize
from keras_hypernet.layers import ApplyGeneratedWeights as ApplyGeneratedWeights
from keras_hypernet.layers import Hyper as Hyper
from keras_hypernet.layers import Rule as Rule
from keras_hypernet.layers import register_rule as register_rule
from keras_hypernet.models import HyperModel as HyperModel
from keras_hypernet.models import apply_generated_weights as apply_generated_weights
from keras_hypernet.models import build as build
from keras_hypernet.models import build_weight_generator as build_weight_generator
from keras_hypernet.models import describe as describe
from keras_hypernet.models import hypernetize as hypernetize
from keras_hypernet.models import load_condition as load_condition
from keras_hypernet.models import load_generator as load_generator
from keras_hypernet.models import save_generator as save_generator
from keras_hypernet.models import save_lora as save_lora
from keras_hypernet.models import specialize as specialize
from keras_hypernet.models import tabulate as tabulate
from keras_hypernet.models import target_weights as target_weights
from keras_hypernet.models import with_conditions as with_conditions
from keras_hypernet.targets import resnet as resnet
from keras_hypernet.targets import wide_resnet as wide_resnet
from keras_hypernet.utils import sine as sine
from keras_hypernet.weights import WeightSpec as WeightSpec
from keras_hypernet.weights import convert_weights as convert_weights
from keras_hypernet.weights import pack_weights as pack_weights
from keras_hypernet.weights import split_weights as split_weights

__version__ = "0.2.0"

__all__ = [
    "AccuracyMatrix",
    "ApplyGeneratedWeights",
    "BiasHyperInit",
    "ChunkPlan",
    "ChunkedDeconvWeightGenerator",
    "ChunkedWeightGenerator",
    "ComposedWeightGenerator",
    "ConditionEmbedding",
    "ContinualCheckpoint",
    "ContinualModel",
    "DeconvWeightGenerator",
    "DiagnosisCallback",
    "FourierFeatures",
    "GroupedDataset",
    "Hyper",
    "HyperFanHarmonic",
    "HyperFanIn",
    "HyperFanOut",
    "HyperModel",
    "Hypernetwork",
    "LayerwiseWeightGenerator",
    "PerturbedWeightGenerator",
    "Rule",
    "RunningScale",
    "StructuredWeightGenerator",
    "TaskWeights",
    "UnitNormEncoding",
    "UnknownIds",
    "WeightGenerator",
    "WeightSpec",
    "apply_generated_weights",
    "build",
    "build_weight_generator",
    "condition_variables",
    "convert_weights",
    "describe",
    "diagnose",
    "head_masks",
    "hypernetize",
    "initialize",
    "initialize_embeddings",
    "load_condition",
    "load_generator",
    "output_regularizer",
    "pack_weights",
    "perturb_unconditional",
    "plan_chunks",
    "plot",
    "register_rule",
    "resnet_chunking",
    "save_generator",
    "save_lora",
    "sine",
    "specialize",
    "split_weights",
    "tabulate",
    "target_weights",
    "targets",
    "wide_resnet_chunking",
    "with_conditions",
]
