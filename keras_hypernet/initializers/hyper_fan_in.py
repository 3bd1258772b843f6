"""`HyperFanIn`: generated weights keep the variance of the target's activations."""

import keras

from keras_hypernet.initializers.hyper_fan import HyperFan


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperFanIn(HyperFan):
    """Initializes a generator so that the target starts as by a fan-in initializer.

    With c = 2 ("kaiming") or 1 ("xavier"), a kernel of fan-in i is generated with the variance
    `c / i`; where its layer has a bias too, each of them gets half: `c / (2 i)` and `c / 2`. Scales
    start at 1, offsets and other tensors at 0, embeddings with variance 1, the same for all
    conditions.

    A chunked generator has one head for tensors of many variances. There each chunk's embedding
    is drawn with the variance that gives its chunk the mean of what its weights want: `c / i` for
    kernels, `1 / (3 i)` for biases, 1 for other tensors.

    Args:
        scheme: `"kaiming"`, for ReLU networks, or `"xavier"`, for linear ones.
        condition_variance, noise_variance: Mean square of the inputs that the generator will get.
        chunk_embedding_variance: Of the chunk embeddings of a structured generator.
        head_kernel_means, head_kernel_variances, head_bias_means, head_bias_variances: Dicts of
            numbers for tensors of the target, by name, or for roles (`kernel`, `bias`, `scale`,
            `offset`, `embedding`, `other`), in place of the above.
        target_variances: For chunked generators: dict of wished variances, by name or role.
        floor: Least variance of a chunk's embedding. A chunk that wants less than what the other
            inputs give it already gets this, and a warning says what inputs would avoid it.
        distribution: `"uniform"` or `"normal"`, of the chunk embeddings.
        seed: Seed of the draws.

    Raises:
        ValueError: on arguments outside these choices, on names that are neither a tensor of the
            target nor a role, for scales without a bias in the head, and for chunked generators
            with batch normalization or given embeddings.

    Example:

    >>> generator = kh.WeightGenerator([(3, 4), (4,)], initialization=kh.HyperFanIn())

    Reference: Chang et al., 2020, Principled Weight Initialization for Hypernetworks
    (https://openreview.net/forum?id=H1lma24tPB).
    """

    def variance(self, tensor, biased):
        if tensor.role == "bias":
            return self.gain / 2
        return self.gain / (tensor.fan_in * (2 if biased else 1))
