"""Layers that map a conditioning to the weights of a target."""

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
from keras_hypernet.generators.layerwise_weight_generator import (
    LayerwiseWeightGenerator as LayerwiseWeightGenerator,
)
from keras_hypernet.generators.perturbed_weight_generator import (
    PerturbedWeightGenerator as PerturbedWeightGenerator,
)
from keras_hypernet.generators.structured_weight_generator import (
    StructuredWeightGenerator as StructuredWeightGenerator,
)
from keras_hypernet.generators.task_weights import TaskWeights as TaskWeights
from keras_hypernet.generators.weight_generator import WeightGenerator as WeightGenerator
