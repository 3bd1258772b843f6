"""Keras layers whose weights are an input of the call."""

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
