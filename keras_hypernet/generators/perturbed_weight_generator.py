"""`PerturbedWeightGenerator`: noise on generated weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, Unpack

import keras

from keras_hypernet.conditioning import inputs
from keras_hypernet.generators.generator import Generator, check_inside
from keras_hypernet.utils import checks
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.types import Conditioning, Config, Shape, Tensor
from keras_hypernet.weights.forms import cast, materialize

if TYPE_CHECKING:
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.initializers.initialization import InitializationLike


@keras.saving.register_keras_serializable(package="keras_hypernet")
class PerturbedWeightGenerator(Generator):
    """Adds noise to generated weights, so that their distribution has full support.

    `weights = generator(z[:, :noise_size]) + sigma * z`, with noise z as wide as the weights: its
    first entries are the generator's noise input too. It is an input of the call, or drawn inside.
    For distributions over weights.

    Args:
        generator: The generator of the weights. It belongs to this layer: give it to no other.
        noise_size: Width of the generator's noise input; 0 for a generator without one.
        sigma: Standard deviation of what is added, for noise of standard deviation 1; 0.02 by
            default.
        when: `"always"`, so that `predict` is random too, or `"training"` for unperturbed weights
            in inference.
        input_layer: Layer `noise -> noise input of the generator`, in place of the first entries.
        output_layer: Layer `[weights, noise] -> weights`, in place of `weights + sigma * noise`.
        seed: Seed of the noise that is drawn inside.
        initialization: How the generator inside starts, in place of its own `initialization`.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating. Or a dict of `noise (rows, total)` and the other
            inputs of the generator; a tensor alone is its condition. Without noise in it, normal
            noise is drawn.
        training: Whether the generator acts, and weights are perturbed, as in training.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        TypeError: if the generator or a layer is none.
        ValueError: if `noise_size` is more than the number of weights, `sigma` is negative, or
            the noise of a call has another width than the weights.

    Example:

    >>> inside = kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[8])
    >>> generator = kh.PerturbedWeightGenerator(inside, noise_size=6, sigma=0.05)
    >>> keras.ops.shape(generator({"noise": np.ones((5, 16), "float32")}))
    (5, 16)

    Reference: Ehret et al., hypnettorch, 2021 (https://github.com/chrhenning/hypnettorch).
    """

    def __init__(
        self,
        generator: Generator,
        noise_size: int = 0,
        sigma: float | Sequence[float] | None = None,
        when: str = "always",
        input_layer: keras.layers.Layer | None = None,
        output_layer: keras.layers.Layer | None = None,
        seed: int | keras.random.SeedGenerator | None = None,
        initialization: InitializationLike = None,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        check_inside(generator)
        noise_size = checks.count("noise_size", noise_size)
        if noise_size > generator.spec.total:
            raise ValueError(
                "`noise_size` must not be more than the number of weights "
                f"({generator.spec.total}). Received: noise_size={noise_size}"
            )
        for argument, layer in (("input_layer", input_layer), ("output_layer", output_layer)):
            if layer is not None:
                checks.instance(argument, layer, keras.layers.Layer)
        if noise_size and input_layer is not None:
            raise ValueError(
                "Either `noise_size` or `input_layer` says what noise the generator gets: give "
                "one of them."
            )
        if sigma is not None and output_layer is not None:
            raise ValueError(
                "Either `sigma` or `output_layer` says what noise does to weights: give one of "
                f"them. Received: sigma={sigma!r}, output_layer={output_layer!r}"
            )
        if output_layer is None:
            sigma = checks.not_negative("sigma", 0.02 if sigma is None else sigma)
        seed = checks.seed("seed", seed)
        when = checks.choice("when", when, ("always", "training"))
        kwargs = {"unknown": generator.unknown, **kwargs}
        super().__init__(generator.spec, num_conditions=generator.num_conditions, **kwargs)
        give_unique_path(self)  # for layers of any class
        self.generator = generator
        self.noise_size = noise_size
        self.sigma = sigma
        self.when = when
        self.input_layer = input_layer
        self.output_layer = output_layer
        self.seed = seed
        self.noise_width = None  # that it is built with
        self.seed_generator = keras.random.SeedGenerator(seed)
        generator.start_with(initialization)
        self.adopt(generator)

    @property
    def accepted_inputs(self):
        return tuple(dict.fromkeys(("noise", *self.generator.accepted_inputs)))

    @property
    def needs_vectors(self):
        return False

    @property
    def ids_beside_vectors(self):
        return self.generator.ids_beside_vectors

    @property
    def conditional_variables(self):
        return self.generator.conditional_variables

    def knows_condition(self, given):
        return self.generator.knows_condition(given)

    def starting_parts(self, initialization=None):
        return self.generator.starting_parts(initialization)

    def check_conditioning(self, conditioning):
        given = inputs.as_dict(conditioning)
        inputs.check(conditioning, self.accepted_inputs, self.num_conditions, self.unknown)
        if not given:
            raise ValueError("`noise` is missing: there is no other input that tells its rows.")
        self._check_width(given["noise"].shape if "noise" in given else (None, self.spec.total))
        if self.input_layer is None:
            self.generator.check_conditioning(self._inside(given))

    def _check_width(self, shape):
        """Raises on noise that has not the width that it is wanted in."""
        checks.known_last_axis("noise", shape)
        total, width = self.spec.total, shape[-1]
        if self.output_layer is None and width != total:
            raise ValueError(
                f"`noise` must be as wide as the weights that it is added to, {total}: its first "
                "`noise_size` entries are the generator's own. Noise of another width needs an "
                f"`output_layer`. Received: noise of shape {tuple(shape)}"
            )
        if self.noise_width not in (None, width):
            raise ValueError(
                f"`noise` must have the width that this generator was built with, "
                f"{self.noise_width}; where none is given, it is drawn as wide as the weights. "
                f"Received: noise of shape {tuple(shape)}"
            )

    def _inside(self, given):
        """The generator's own inputs, with stand-ins for noise that is not drawn yet."""
        inside = {name: tensor for name, tensor in given.items() if name != "noise"}
        if self.noise_size:
            rows = next(iter(given.values())).shape[0]
            shape = (rows, self.noise_size)
            inside["noise"] = inputs.stand_in("noise", shape, self.compute_dtype)
        return inside

    def build(self, conditioning_shape: Shape | dict[str, Shape]) -> None:
        shapes = inputs.as_dict(conditioning_shape)
        rows = inputs.rows(shapes)
        noise_shape = tuple(shapes.get("noise", (rows, self.spec.total)))
        inside = {name: shape for name, shape in shapes.items() if name != "noise"}
        if self.input_layer is not None:
            if not self.input_layer.built:
                self.input_layer.build(noise_shape)
            inside["noise"] = self.input_layer.compute_output_shape(noise_shape)
        elif self.noise_size:
            inside["noise"] = (rows, self.noise_size)
        if self.output_layer is not None:
            self._build_output_layer([(rows, self.spec.total), noise_shape])
        self.noise_width = noise_shape[-1]
        if not self.generator.built:
            self.generator.build(inside)

    def _build_output_layer(self, shapes):
        """Builds it; raises where it does not make weights of weights and noise."""
        layer = self.output_layer
        tensors = [keras.KerasTensor(shape, self.compute_dtype) for shape in shapes]
        try:
            if not layer.built:
                layer.build(shapes)
            made, error = tuple(layer.compute_output_spec(tensors).shape), None
        except Exception as raised:
            made, error = None, raised
        if error is not None or made[1:] != (self.spec.total,):
            why = f"which makes {made}" if error is None else f"which does not: {error}"
            raise ValueError(
                f"`output_layer` must make weights {shapes[0]} of a list of weights {shapes[0]} "
                f"and noise {shapes[1]}. Received: {layer.name!r}, {why}"
            ) from error

    def call(self, conditioning: Conditioning, training: bool | None = None) -> Tensor:
        given = inputs.as_dict(conditioning)
        witnesses = list(given.values())  # noise that is not used has rows all the same
        perturbs = self.when == "always" or bool(training)
        if "noise" not in given and (perturbs or self.noise_size or self.input_layer is not None):
            given["noise"] = self._draw(inputs.dynamic_rows(given))
        noise = given.pop("noise", None)
        if self.input_layer is not None:
            given["noise"] = self.input_layer(noise)
        elif self.noise_size:
            given["noise"] = noise[:, : self.noise_size]
        weights = materialize(self.generator(given, training=training))
        weights = cast(weights, self.compute_dtype)  # the generator may have another dtype policy
        (weights,) = inputs.share_rows([weights], witnesses)
        if not perturbs:
            return weights
        if self.output_layer is not None:
            return self.output_layer([weights, noise])
        return weights + self.sigma * noise

    def _draw(self, rows):
        shape = (rows, self.spec.total)
        return keras.random.normal(shape, dtype=self.compute_dtype, seed=self.seed_generator)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["spec"], config["initialization"]  # the generator's
        serialize = keras.saving.serialize_keras_object
        return {
            **config,
            "generator": serialize(self.generator),
            "noise_size": self.noise_size,
            "sigma": self.sigma,
            "when": self.when,
            "input_layer": self.input_layer and serialize(self.input_layer),
            "output_layer": self.output_layer and serialize(self.output_layer),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        parts = {
            name: config[name] and keras.saving.deserialize_keras_object(config[name])
            for name in ("generator", "input_layer", "output_layer")
        }
        return cls(**{**config, **parts})
