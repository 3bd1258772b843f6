"""`HyperFanHarmonic`: between `HyperFanIn` and `HyperFanOut`."""

import keras

from keras_hypernet.initializers.hyper_fan import HyperFan
from keras_hypernet.initializers.hyper_fan_in import HyperFanIn
from keras_hypernet.initializers.hyper_fan_out import HyperFanOut


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperFanHarmonic(HyperFan):
    """Initializes a generator so that the target starts between fan-in and fan-out.

    Variances are the harmonic means `2 / (1 / a + 1 / b)` of those of `HyperFanIn` and
    `HyperFanOut`: for a kernel alone, that of Glorot's initializer times c. The rest is as there.

    Args:
        scheme, condition_variance, noise_variance, chunk_embedding_variance: As in `HyperFanIn`.
        head_kernel_means, head_kernel_variances, head_bias_means, head_bias_variances: As there.
        target_variances, floor, distribution, seed: As there.

    Raises:
        ValueError: as `HyperFanIn`.

    Example:

    >>> generator = kh.WeightGenerator([(3, 4), (4,)], initialization="hyper_fan_harmonic")

    Reference: Chang et al., 2020, Principled Weight Initialization for Hypernetworks
    (https://openreview.net/forum?id=H1lma24tPB).
    """

    def variance(self, tensor, biased):
        a = HyperFanIn.variance(self, tensor, biased)
        b = HyperFanOut.variance(self, tensor, biased)
        return 2 * a * b / (a + b)
