"""The base of the hyper layers that mirror a Keras layer, their twin."""

import dataclasses
import inspect
import string
import textwrap

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.hyper_layer import HyperLayer, Untracked
from keras_hypernet.utils import checks
from keras_hypernet.weights import forms
from keras_hypernet.weights.layer_tensors import tensor_of_layer
from keras_hypernet.weights.spec import WeightSpec

_LAYER_ARGUMENTS = ("name", "dtype", "trainable", "trainable_parts", "autocast")
_VARIABLES = (
    "lora_rank",
    "lora_alpha",
    "quantization_config",
    "gptq_unpacked_column_size",
    "weights",
)
_SIZES = ("depth_multiplier", "filters", "input_dim", "key_dim", "num_heads", "output_dim")
_SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}

_SECTIONS = """

    Args:
{arguments}
        shared: Whether the weights have a single row for the whole batch: then the ordinary
            Keras operation runs.

    Call arguments:
        x: What `{twin}` takes.
        weights: {tensors},
            as far as the arguments ask for them: flat `(rows, total)` in this order, each
            row-major, or factored, or a dict of tensors by name, each `(rows, *shape)` or
            `(1, *shape)`; floating. `rows` divides the batch. `layer.spec(x_shape)` is what a
            generator has to make.{more}

    Returns:
        What `{twin}` returns.

    Raises:
        ValueError: where the twin raises it, if shapes of weights do not fit, or if rows do not
            divide the batch.
        TypeError: on other arguments than the twin's, and on weights that are not floating.

    Reference: {reference}
"""

_REFERENCE = "Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106)."


# Keras class -> hyper layer class.
TWINS = {}


class _OfClass:
    """An attribute that a class has and its instances do not: they are called in another way."""

    def __init__(self, value):
        self.value = value

    def __get__(self, instance, owner):
        if instance is not None:
            raise AttributeError
        return self.value


class HyperTwin(HyperLayer):
    """A hyper layer with the arguments and the behaviour of a Keras layer.

    A subclass gives `twin`, the Keras class; `weight_shapes(x_shape)`, the shapes of its tensors
    by name; and `apply(x, tensors, **kwargs)`, the layer on tensors by name, each `(rows, *shape)`
    or an update of low rank where `updates` says so.
    """

    twin = None
    tensors: tuple[str, ...] = ()  # their names, in order
    more = ""  # further call arguments, for the docstring
    reference = _REFERENCE

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "twin" in cls.__dict__:
            twin = f"keras.layers.{cls.twin.__name__}"
            cls.__signature__ = _OfClass(_signature(cls))
            cls.__doc__ += _SECTIONS.format(
                twin=twin,
                arguments=_arguments(cls, twin),
                tensors=", ".join(f"`{name}`" for name in cls.tensors),
                more=cls.more,
                reference=cls.reference,
            )
            TWINS[cls.twin] = cls

    def __init__(self, *args, shared=False, **kwargs):
        twin_arguments = dict(kwargs)
        own = {n: twin_arguments.pop(n) for n in _LAYER_ARGUMENTS if n in kwargs}
        _refuse(type(self).__name__, twin_arguments)
        given = _checked(inspect.signature(self.twin).bind(*args, **twin_arguments))
        twin = self.twin(*given.args, **given.kwargs, dtype=own.get("dtype"), name="twin")
        super().__init__(shared=shared, activity_regularizer=twin.activity_regularizer, **own)
        self.input_spec = twin.input_spec
        self.autocast = self.autocast and twin.autocast
        self.supports_masking = twin.supports_masking
        self._twin = Untracked(twin)
        self._shapes = None

    @classmethod
    def from_layer(cls, layer, shared=False):
        """The hyper layer with a Keras layer's name and arguments, without its regularizers."""
        config = {name: value for name, value in layer.get_config().items() if _taken(name)}
        for name in config:
            if name.endswith("_regularizer") and name != "activity_regularizer":
                config[name] = None
        return cls.from_config({**config, "shared": shared})

    def twin_layer(self):
        """The Keras layer that this one behaves like: its arguments, and no weights."""
        return self._twin.value

    def spec(self, x_shape):
        """The `WeightSpec` of what is to be generated, for data of a shape."""
        tensors = []
        for name, shape in self.weight_shapes(tuple(x_shape)).items():
            tensor = tensor_of_layer(self.twin_layer(), name, shape)
            tensors.append(dataclasses.replace(tensor, name=f"{self.name}/{name}"))
        return WeightSpec(tensors)

    @property
    def tensor_names(self):
        """Names of the tensors that there are, in order."""
        # Not in here: `torch.compile` cannot ask `super()` for a property.
        return self.switched_on()

    def switched_on(self):
        """Names of the tensors that the twin's arguments ask for."""
        twin = self.twin_layer()
        return [n for n in self.tensors if getattr(twin, _SWITCHES.get(n, ""), True)]

    def updates(self, name, shape, rank):
        """Shapes of `down` and `up` that update a tensor by a product of low rank."""
        raise ValueError(
            f"`{type(self).__name__}` takes no update of low rank of its {name}. "
            f"Received: one of rank {rank}"
        )

    def update_equation(self, name, shape):
        """The einsum equation of `down` and `up` for their product."""
        axes = string.ascii_letters[: len(shape) - 1]
        return f"{axes}Y,YZ->{axes}Z"

    def multiplied_out(self, name, update):
        """`base + down @ up` as a tensor `(rows, *shape)`."""
        shape = self._shapes[name]
        return named_weights.multiplied(update, self.update_equation(name, shape))

    # Checks.

    def check_weights(self, weights):
        named_weights.check_weights(weights, self.tensor_names)

    def check_shapes(self, x_shape, weights_shape, *others):
        shapes = self._shapes or self.weight_shapes(x_shape, *others)
        named_weights.check_shapes(weights_shape, shapes, self.updates)
        self.check_rows(x_shape[0], named_weights.row_counts(weights_shape, shapes))

    # Running.

    def build(self, x_shape, weights_shape, **others):
        self._shapes = self.weight_shapes(x_shape)
        self.check_shapes(x_shape, weights_shape)

    def call(self, x, weights, **kwargs):
        tensors = self.tensors_of(weights)
        self._regularize(tensors)
        return forms.cast(self.apply(x, tensors, **kwargs), self.compute_dtype)

    def tensors_of(self, weights):
        """`{name: tensor (rows, *shape) or update}`."""
        return named_weights.tensors_of(weights, self._shapes, self.shared)

    def _regularize(self, tensors):
        for name, tensor in tensors.items():
            regularizer = getattr(self.twin_layer(), self.regularizer_of(name), None)
            if regularizer is not None:
                if named_weights.is_update(tensor):
                    tensor = self.multiplied_out(name, tensor)
                self.add_loss(mean_over_rows(regularizer, tensor))

    def regularizer_of(self, name):
        """The twin's argument with the regularizer of a tensor."""
        return f"{name.removesuffix('_kernel')}_regularizer"

    def tensors_by_name(self, weights):
        found = {}
        for name, tensor in named_weights.tensors_of(weights, self._shapes).items():
            if named_weights.is_update(tensor):
                tensor = self.multiplied_out(name, tensor)
            found[f"{self.name}/{name}"] = tensor
        return found

    def plain_layers(self, weights):
        tensors = self.tensors_by_name(weights).values()
        values = [ops.convert_to_numpy(tensor[0]) for tensor in tensors]
        layer = self.twin.from_config({**self.twin_layer().get_config(), "name": self.name})
        layer.trainable = self.trainable
        return [(layer, values, list(self.variables))]

    def compute_output_shape(self, x_shape, weights_shape=None, **others):
        return tuple(self.twin_layer().compute_output_shape(x_shape))

    def get_config(self):
        taken = {n: v for n, v in self.twin_layer().get_config().items() if _taken(n)}
        own = super().get_config()
        return {**taken, **own}


def mean_over_rows(regularizer, tensor):
    """A penalty of one set of weights, mean over sets `(rows, *shape)`; of none it is 0.

    As Keras' own, which is of variables, it is not in half precision.
    """
    tensor = ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))
    if tensor.shape[0] == 0:  # which PyTorch cannot map over
        return ops.zeros(())
    rows = ops.shape(tensor)[0]
    if ops.is_tensor(rows):
        rows = ops.cast(ops.maximum(rows, 1), tensor.dtype)
    return ops.sum(ops.vectorized_map(regularizer, tensor)) / rows


def _taken(argument):
    """Whether a twin's argument is for more than its variables."""
    if argument.startswith("moving_"):  # state, which hyper layers have
        return True
    return not argument.endswith(("_initializer", "_constraint")) and argument not in _VARIABLES


def _refuse(name, arguments):
    refused = sorted(n for n in arguments if not _taken(n) and arguments[n] is not None)
    if refused:
        raise TypeError(
            f"`{name}` has no variables of its own, which these arguments are for; initialize the "
            f"generator instead (`initialization=`). Received: {refused}"
        )


def _checked(given):
    """The twin's arguments, with those checked that Keras would take whatever they are."""
    for name, value in given.arguments.items():
        default = given.signature.parameters[name].default
        if name == "seed":
            given.arguments[name] = checks.seed(name, value)
        elif isinstance(default, bool) or (name == "flash_attention" and value is not None):
            given.arguments[name] = checks.boolean(name, value)
        elif name in _SIZES:
            given.arguments[name] = checks.positive_int(name, value)
        elif isinstance(default, float):
            given.arguments[name] = checks.number(name, value)
    return given


def _arguments(cls, twin):
    """What a docstring says of a hyper layer's arguments."""
    names = [n for n in cls.__signature__.parameters if n not in ("shared", "kwargs")]
    text = (
        f"{', '.join(names)}, **kwargs: Those of `{twin}`. Regularizers penalize the generated "
        "weights, mean over rows. There are no initializers and constraints: they would have no "
        "variables."
    )
    return textwrap.fill(text, 92, initial_indent=" " * 8, subsequent_indent=" " * 12)


def _signature(cls):
    """The twin's arguments, then the hyper layer's own."""
    taken = [p for p in inspect.signature(cls.twin).parameters.values() if _taken(p.name)]
    own = inspect.signature(cls.__init__).parameters.values()
    own = [p for p in own if p.kind == p.KEYWORD_ONLY and p.name != "shared"]
    own.append(inspect.Parameter("shared", inspect.Parameter.KEYWORD_ONLY, default=False))
    variadic = [p for p in taken if p.kind == p.VAR_KEYWORD]
    return inspect.Signature([p for p in taken if p not in variadic] + own + variadic)
