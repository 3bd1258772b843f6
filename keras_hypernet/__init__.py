"""Hypernetworks for Keras 3: networks that produce the weights of other networks."""

from keras_hypernet import targets as targets
from keras_hypernet.activations import sine as sine
from keras_hypernet.builder import apply_generated_weights as apply_generated_weights
from keras_hypernet.builder import build as build
from keras_hypernet.builder import build_weight_generator as build_weight_generator
from keras_hypernet.chunk_plan import ChunkPlan as ChunkPlan
from keras_hypernet.conditioning.condition_embedding import (
    ConditionEmbedding as ConditionEmbedding,
)
from keras_hypernet.conditioning.encodings import FourierFeatures as FourierFeatures
from keras_hypernet.conditioning.encodings import UnitNormEncoding as UnitNormEncoding
from keras_hypernet.conditioning.ids import UnknownIds as UnknownIds
from keras_hypernet.conditioning.running_scale import RunningScale as RunningScale
from keras_hypernet.continual.accuracy_matrix import AccuracyMatrix as AccuracyMatrix
from keras_hypernet.continual.continual_checkpoint import (
    ContinualCheckpoint as ContinualCheckpoint,
)
from keras_hypernet.continual.continual_model import ContinualModel as ContinualModel
from keras_hypernet.continual.head_masks import head_masks as head_masks
from keras_hypernet.continual.output_regularizer import output_regularizer as output_regularizer
from keras_hypernet.convert_weights import convert_weights as convert_weights
from keras_hypernet.describe import describe as describe
from keras_hypernet.generators.chunked_deconv_weight_generator import (
    ChunkedDeconvWeightGenerator as ChunkedDeconvWeightGenerator,
)
from keras_hypernet.generators.chunked_weight_generator import (
    ChunkedWeightGenerator as ChunkedWeightGenerator,
)
from keras_hypernet.generators.composed_weight_generator import (
    ComposedWeightGenerator as ComposedWeightGenerator,
)
from keras_hypernet.generators.deconv_weight_generator import (
    DeconvWeightGenerator as DeconvWeightGenerator,
)
from keras_hypernet.generators.embeddings import condition_variables as condition_variables
from keras_hypernet.generators.embeddings import initialize_embeddings as initialize_embeddings
from keras_hypernet.generators.embeddings import perturb_unconditional as perturb_unconditional
from keras_hypernet.generators.hypernetwork import Hypernetwork as Hypernetwork
from keras_hypernet.generators.perturbed_weight_generator import (
    PerturbedWeightGenerator as PerturbedWeightGenerator,
)
from keras_hypernet.generators.structured_weight_generator import (
    StructuredWeightGenerator as StructuredWeightGenerator,
)
from keras_hypernet.generators.task_weights import TaskWeights as TaskWeights
from keras_hypernet.generators.weight_generator import WeightGenerator as WeightGenerator
from keras_hypernet.grouped_dataset import GroupedDataset as GroupedDataset
from keras_hypernet.hypernetize import hypernetize as hypernetize
from keras_hypernet.initializers.bias_hyper_init import BiasHyperInit as BiasHyperInit
from keras_hypernet.initializers.hyper_fan_harmonic import HyperFanHarmonic as HyperFanHarmonic
from keras_hypernet.initializers.hyper_fan_in import HyperFanIn as HyperFanIn
from keras_hypernet.initializers.hyper_fan_out import HyperFanOut as HyperFanOut
from keras_hypernet.initializers.initialization import initialize as initialize
from keras_hypernet.layers.apply_generated_weights import (
    ApplyGeneratedWeights as ApplyGeneratedWeights,
)
from keras_hypernet.layers.hyper_batch_normalization import (
    HyperBatchNormalization as HyperBatchNormalization,
)
from keras_hypernet.layers.hyper_conv1d import HyperConv1D as HyperConv1D
from keras_hypernet.layers.hyper_conv1d_transpose import (
    HyperConv1DTranspose as HyperConv1DTranspose,
)
from keras_hypernet.layers.hyper_conv2d import HyperConv2D as HyperConv2D
from keras_hypernet.layers.hyper_conv2d_transpose import (
    HyperConv2DTranspose as HyperConv2DTranspose,
)
from keras_hypernet.layers.hyper_conv3d import HyperConv3D as HyperConv3D
from keras_hypernet.layers.hyper_conv3d_transpose import (
    HyperConv3DTranspose as HyperConv3DTranspose,
)
from keras_hypernet.layers.hyper_dense import HyperDense as HyperDense
from keras_hypernet.layers.hyper_depthwise_conv1d import (
    HyperDepthwiseConv1D as HyperDepthwiseConv1D,
)
from keras_hypernet.layers.hyper_depthwise_conv2d import (
    HyperDepthwiseConv2D as HyperDepthwiseConv2D,
)
from keras_hypernet.layers.hyper_einsum_dense import HyperEinsumDense as HyperEinsumDense
from keras_hypernet.layers.hyper_embedding import HyperEmbedding as HyperEmbedding
from keras_hypernet.layers.hyper_group_normalization import (
    HyperGroupNormalization as HyperGroupNormalization,
)
from keras_hypernet.layers.hyper_layer_normalization import (
    HyperLayerNormalization as HyperLayerNormalization,
)
from keras_hypernet.layers.hyper_multi_head_attention import (
    HyperMultiHeadAttention as HyperMultiHeadAttention,
)
from keras_hypernet.layers.hyper_prelu import HyperPReLU as HyperPReLU
from keras_hypernet.layers.hyper_rms_normalization import (
    HyperRMSNormalization as HyperRMSNormalization,
)
from keras_hypernet.layers.hyper_separable_conv1d import (
    HyperSeparableConv1D as HyperSeparableConv1D,
)
from keras_hypernet.layers.hyper_separable_conv2d import (
    HyperSeparableConv2D as HyperSeparableConv2D,
)
from keras_hypernet.layers.hyper_wrapper import HyperWrapper as HyperWrapper
from keras_hypernet.more_conditions import with_conditions as with_conditions
from keras_hypernet.spec import WeightSpec as WeightSpec
from keras_hypernet.specialize import specialize as specialize
from keras_hypernet.target_weights import target_weights as target_weights
from keras_hypernet.targets.chunkings import resnet_chunking as resnet_chunking
from keras_hypernet.targets.chunkings import wrn_chunking as wrn_chunking
from keras_hypernet.targets.plan_chunks import plan_chunks as plan_chunks
from keras_hypernet.weights import pack_weights as pack_weights
from keras_hypernet.weights import split_weights as split_weights

__version__ = "0.1.0"

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
    "FourierFeatures",
    "GroupedDataset",
    "HyperBatchNormalization",
    "HyperConv1D",
    "HyperConv1DTranspose",
    "HyperConv2D",
    "HyperConv2DTranspose",
    "HyperConv3D",
    "HyperConv3DTranspose",
    "HyperDense",
    "HyperDepthwiseConv1D",
    "HyperDepthwiseConv2D",
    "HyperEinsumDense",
    "HyperEmbedding",
    "HyperFanHarmonic",
    "HyperFanIn",
    "HyperFanOut",
    "HyperGroupNormalization",
    "HyperLayerNormalization",
    "HyperMultiHeadAttention",
    "HyperPReLU",
    "HyperRMSNormalization",
    "HyperSeparableConv1D",
    "HyperSeparableConv2D",
    "HyperWrapper",
    "Hypernetwork",
    "PerturbedWeightGenerator",
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
    "head_masks",
    "hypernetize",
    "initialize",
    "initialize_embeddings",
    "output_regularizer",
    "pack_weights",
    "perturb_unconditional",
    "plan_chunks",
    "resnet_chunking",
    "sine",
    "specialize",
    "split_weights",
    "target_weights",
    "targets",
    "with_conditions",
    "wrn_chunking",
]
