"""Hyperfan: generated weights start with the variances of a good initializer of the target."""

from __future__ import annotations

import abc
import warnings

import keras
import numpy as np

from keras_hypernet.initializers.initialization import Initialization
from keras_hypernet.initializers.pieces import Pieces
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Config
from keras_hypernet.weights.weight_tensor import check_tensor_names

# Mean of what is generated at the start where a role is not a kernel or a bias.
CONSTANTS = {"scale": 1.0, "offset": 0.0, "embedding": 0.0, "other": 0.0}


# Overrides of heads that make whole tensors.
HEADS = ("head_kernel_means", "head_kernel_variances", "head_bias_means", "head_bias_variances")


class HyperFan(Initialization):
    """Hyperfan for one way to choose variances, which subclasses give."""

    def __init__(
        self,
        scheme: str = "kaiming",
        condition_variance: float = 1.0,
        noise_variance: float = 1.0,
        chunk_embedding_variance: float = 1.0,
        head_kernel_means: dict[str, float] | None = None,
        head_kernel_variances: dict[str, float] | None = None,
        head_bias_means: dict[str, float] | None = None,
        head_bias_variances: dict[str, float] | None = None,
        target_variances: dict[str, float] | None = None,
        floor: float = 1e-5,
        distribution: str = "uniform",
        seed: int | None = None,
    ) -> None:
        self.scheme = checks.choice("scheme", scheme, ("kaiming", "xavier"))
        self.input_variances = {
            "noise": checks.positive_number("noise_variance", noise_variance),
            "chunk": checks.positive_number("chunk_embedding_variance", chunk_embedding_variance),
            "condition": checks.positive_number("condition_variance", condition_variance),
        }
        overrides = {
            "head_kernel_means": head_kernel_means,
            "head_kernel_variances": head_kernel_variances,
            "head_bias_means": head_bias_means,
            "head_bias_variances": head_bias_variances,
            "target_variances": target_variances,
        }
        self.overrides = {}
        for name, numbers in overrides.items():
            self.overrides[name] = checks.numbers_by_name(name, numbers)
            if name.endswith("variances") and min(self.overrides[name].values(), default=0) < 0:
                raise ValueError(f"`{name}` must not be negative. Received: {numbers}")
        self.floor = checks.positive_number("floor", floor)
        self.distribution = checks.choice("distribution", distribution, ("uniform", "normal"))
        self.seed = checks.seed("seed", seed)

    @abc.abstractmethod
    def variance(self, tensor, biased):
        """Wished variance of a kernel or a bias; `biased`: a bias is generated beside it."""

    @property
    def gain(self):
        return 2.0 if self.scheme == "kaiming" else 1.0

    def head_variances(self, spec, features, feature_variance):
        """Variance of the head's kernel for each tensor of a spec, before overrides."""
        biased = {tensor.layer for tensor in spec if tensor.role == "bias"}
        variances = []
        for tensor in spec:
            wished = 0.0
            if tensor.role == "bias" or (tensor.role == "kernel" and tensor.fan_in is not None):
                wished = self.variance(tensor, tensor.layer in biased)
            variances.append(wished / (features * feature_variance))
        return variances

    def input_variance(self, sizes):
        """Mean of the inputs' variances over their entries."""
        total = sum(sizes.values())
        return sum(size * self.input_variances[name] for name, size in sizes.items()) / total

    @property
    def by_name(self):
        return {name: numbers for name, numbers in self.overrides.items() if numbers}

    def of_perceptron(self, generator, spec, sizes, based=False):
        self._refuse(["target_variances"], "chunked generators", HEADS)
        features = generator.features_size(sum(sizes.values()))
        normalized = generator.batch_normalization and generator.trunk
        variance = 1.0 if normalized else self.input_variance(sizes)
        variance *= (generator.feature_scale or 1.0) ** 2
        defaults = {
            "head_kernel_means": [0.0] * len(spec),
            "head_kernel_variances": self.head_variances(spec, features, variance),
            "head_bias_means": [CONSTANTS.get(role, 0.0) for role in spec.roles],
            "head_bias_variances": [float(role == "embedding") for role in spec.roles],
        }
        numbers = {
            name: np.repeat(self._overridden(name, spec, default), spec.sizes)
            for name, default in defaults.items()
        }
        slots = self._hidden(generator)
        kernel = Pieces(
            numbers["head_kernel_means"], numbers["head_kernel_variances"], seed=self._seed(0)
        )
        slots.append((generator.head, "kernel", kernel))
        if generator.use_bias:
            bias = Pieces(
                numbers["head_bias_means"], numbers["head_bias_variances"], seed=self._seed(1)
            )
            slots.append((generator.head, "bias", bias))
        elif numbers["head_bias_means"].any() or numbers["head_bias_variances"].any():
            names = [t.name for t in spec if t.role not in ("kernel", "bias")]
            raise ValueError(
                "Hyperfan gives scales and embeddings their start in the bias of the head: the "
                f"generator must have `use_bias=True`. Such tensors: {names}"
            )
        return slots

    def of_chunks(self, chunks, spec, sizes):
        self._refuse(HEADS, "generators of whole tensors", ["target_variances"])
        generator = chunks.generator
        if generator.batch_normalization:
            raise ValueError(
                "Hyperfan reaches chunks through the variance of their embeddings, which batch "
                "normalization takes away: the generator must have `batch_normalization=False`."
            )
        if chunks.chunk_embeddings == "given":
            raise ValueError(
                "Hyperfan reaches chunks through the variance of their embeddings, which this "
                'generator is given: `chunk_embeddings` must be "shared" or "conditional".'
            )
        wished = self.chunk_variances(spec, generator.spec.total, chunks.number)
        variances = self.embedding_variances(wished, sizes, chunks.embedding_size)
        gain = 1.0 / (generator.feature_scale or 1.0) ** 2
        head = keras.initializers.VarianceScaling(gain, "fan_in", "uniform", seed=self._seed(0))
        slots = [*self._hidden(generator), (generator.head, "kernel", head)]
        if generator.use_bias:
            slots.append((generator.head, "bias", keras.initializers.Zeros()))
        rows = Pieces(0.0, variances[:, None], self.distribution, self._seed(1))
        return [*slots, (chunks, "embeddings", rows)]

    def of_image(self, generator):
        raise ValueError(
            "Hyperfan is for generators with one linear head; the kernels of a transposed "
            "convolution serve all weights alike. Use `BiasHyperInit` for this generator."
        )

    def for_inputs(self, scale):
        return self.copy(condition_variance=self.input_variances["condition"] * scale**2)

    def _refuse(self, names, what, others):
        """Raises on overrides that a generator has no use for."""
        for name in names:
            if self.overrides[name]:
                raise ValueError(
                    f"`{name}` is for {what}, and this generator is none: use one of "
                    f"{list(others)} for it. Received: {name}={self.overrides[name]}"
                )

    def chunk_variances(self, spec, size, number):
        """Mean over each chunk of the variances that its weights want."""
        of_tensors = self._overridden(
            "target_variances", spec, [self._alone(tensor) for tensor in spec]
        )
        starts = np.union1d(spec.offsets, np.arange(number) * size)
        lengths = np.diff([*starts, number * size])  # the surplus belongs to the last tensor
        owners = np.searchsorted(spec.offsets, starts, side="right") - 1
        return np.bincount(starts // size, lengths * of_tensors[owners]) / size

    def embedding_variances(self, wished, sizes, embedding_size):
        """Variance of each chunk's embedding, so that the chunk has the wished one."""
        others = sum(sizes.values())
        given = others * self.input_variance(sizes) if others else 0.0
        variances = ((others + embedding_size) * wished - given) / embedding_size
        clipped = int(np.sum(variances < self.floor))
        if clipped:
            hint = "A smaller `floor` would avoid it."
            bound = (others + embedding_size) * wished.min() - embedding_size * self.floor
            if others and bound > 0:
                hint = (
                    f"Inputs of variance {bound / others:.3g} or less would avoid it: give it to "
                    "them (`embeddings_initializer`, `initialize_embeddings`) and name it here "
                    "(`condition_variance`, `noise_variance`)."
                )
            warnings.warn(
                f"Hyperfan: {clipped} of {len(wished)} chunks want embeddings of a variance below "
                f"{self.floor:g} and get this: their weights start too large. {hint}",
                stacklevel=2,
            )
        return np.maximum(variances, self.floor)

    def _alone(self, tensor):
        """Wished variance of a tensor whose layer's other tensors do not count."""
        if tensor.role == "kernel" and tensor.fan_in is not None:
            return self.variance(tensor, biased=False)
        if tensor.role == "bias":
            return 1 / (3 * (tensor.fan_in or tensor.size))
        return 1.0

    def _hidden(self, generator):
        zeros, ones, slots = keras.initializers.Zeros(), keras.initializers.Ones(), []
        for i, layer in enumerate(generator.trunk):
            kernel = keras.initializers.VarianceScaling(
                self.gain, "fan_in", "uniform", seed=self._seed(2 + i)
            )
            slots.append((layer.dense, "kernel", kernel))
            if generator.use_bias:
                slots.append((layer.dense, "bias", zeros))
            if generator.batch_normalization:
                slots.append((layer.batch_normalization, "gamma", ones))
                slots.append((layer.batch_normalization, "beta", zeros))
        return slots

    def _overridden(self, name, spec, defaults):
        by_name = self.overrides[name]
        check_tensor_names(name, by_name, spec.names)
        return np.array(
            [by_name.get(t.name, by_name.get(t.role, d)) for t, d in zip(spec, defaults)]
        )

    def _seed(self, i):
        return checks.next_seed(self.seed, i)

    def get_config(self) -> Config:
        return {
            "scheme": self.scheme,
            "condition_variance": self.input_variances["condition"],
            "noise_variance": self.input_variances["noise"],
            "chunk_embedding_variance": self.input_variances["chunk"],
            **self.overrides,
            "floor": self.floor,
            "distribution": self.distribution,
            "seed": self.seed,
        }


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
