"""`HyperFanOut`: generated weights keep the variance of the target's gradients."""

import keras

from keras_hypernet.initializers.hyper_fan import HyperFan


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperFanOut(HyperFan):
    """Initializes a generator so that the target starts as by a fan-out initializer.

    A kernel with fans (i, o) is generated with the variance `c / o`, a bias of its layer with
    `c (1 - i / o)` where that is positive, else with none. The rest is as in `HyperFanIn`.

    Args:
        scheme, condition_variance, noise_variance, chunk_embedding_variance: As in `HyperFanIn`.
        head_kernel_means, head_kernel_variances, head_bias_means, head_bias_variances: As there.
        target_variances, floor, distribution, seed: As there.

    Raises:
        ValueError: as `HyperFanIn`.

    Example:

    >>> generator = kh.WeightGenerator([(3, 4), (4,)], initialization=kh.HyperFanOut())

    Reference: Chang et al., 2020, Principled Weight Initialization for Hypernetworks
    (https://openreview.net/forum?id=H1lma24tPB).
    """

    def variance(self, tensor, biased):
        if tensor.role == "kernel":
            return self.gain / tensor.fan_out
        fan_in = tensor.size if tensor.fan_in is None else tensor.fan_in
        return max(0.0, self.gain * (1 - fan_in / tensor.size))
