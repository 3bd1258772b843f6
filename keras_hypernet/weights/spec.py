"""`WeightSpec`: what a generator and a hyper layer both know about a target."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Self, TypeAlias

import keras
import numpy as np

from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.activations import of_target
from keras_hypernet.utils.tables import Table, Tabular
from keras_hypernet.utils.types import ActivationLike, Config, FullShape, LayerSizes, Tensor
from keras_hypernet.weights.layer_tensors import names_of_shapes, tensor_of_variable
from keras_hypernet.weights.weight_tensor import LAYOUTS, WeightTensor

# What makes a spec.
SpecLike: TypeAlias = "WeightSpec | Sequence[FullShape] | dict[str, FullShape] | Config"


class WeightSpec(Tabular):
    """The tensors of a target network, in the order of its flat weight vector.

    The flat vector is every tensor flattened row-major, one after another. A spec is pure
    Python: it holds no tensors of any backend and can be printed, compared and stored.

    Args:
        tensors: List of the tensors: those of other specs, or dicts with the keys `name` and
            `shape`, and optionally `role` (one of `kernel`, `bias`, `scale`, `offset`,
            `embedding`, `other`), `fan_in`, `fan_out`, `layout` (as in `from_shapes`) and
            `initializer` (a Keras initializer, with which `BiasHyperInit` starts the tensor;
            `None` is the usual one of its role).
            Names are unique, and the tensors of one layer (equal names up to the last slash)
            stand together. Mostly made by `from_shapes`, `from_layer` or `from_model`.

    Raises:
        ValueError: if the list is empty, a name is repeated, a role is unknown, a shape has an
            entry below one, or a layer's tensors do not stand together.

    Example:

    >>> spec = kh.WeightSpec.from_shapes({"dense/kernel": (3, 2), "dense/bias": (2,)})
    >>> spec
    WeightSpec: 2 tensors, 1 layer, 8 weights
      name          role    shape   fans    offset  size
      dense/kernel  kernel  (3, 2)  3 -> 2  0       6
      dense/bias    bias    (2,)    3 -> 2  6       2
    >>> spec.split(np.arange(8.0))["dense/bias"]
    array([6., 7.])
    """

    def __init__(self, tensors: Sequence[WeightTensor | Config]) -> None:
        placed, offset = [], 0
        for given in checks.non_empty_list("tensors", tensors):
            placed.append(dataclasses.replace(WeightTensor.of(given), offset=offset))
            offset += placed[-1].size
        self._tensors = tuple(_with_fans_of_kernels(placed))
        self._by_name = {tensor.name: tensor for tensor in self._tensors}
        self.total = offset
        self._check_names()

    @classmethod
    def from_shapes(
        cls,
        shapes: dict[str, FullShape] | Sequence[FullShape],
        roles: Sequence[str | None] | None = None,
        layout: str = "keras",
    ) -> Self:
        """Spec of plain shapes: a list, or a dict of names to shapes.

        In a list, two or more axes are a kernel `[..., in, out]`, which begins a layer, and one
        axis is a bias of the layer before it: `[(3, 4), (4,)]` is `layer_0/kernel`,
        `layer_0/bias`. In a dict, the last part of the name says the role.

        Args:
            shapes: List of shapes, or dict `{name: shape}`.
            roles: Optional roles, one per shape, in place of the ones that are inferred.
            layout: `"keras"` for kernels `[..., in, out]`, `"torch"` for `[out, in, ...]`. Beside
                these there are `"transposed"`, `[..., out, in]`, `"depthwise"`, `[..., channels,
                multiplier]`, and `"other"`, which specs of layers have. The tensors keep it: it
                says where fans and outputs are. Layers take kernels as those of Keras have them.
        """
        checks.choice("layout", layout, tuple(LAYOUTS))
        if isinstance(shapes, dict):
            names, shapes = list(shapes), list(shapes.values())
            checks.require(names, "shapes", "not be empty", shapes)
        else:
            shapes = checks.non_empty_list("shapes", shapes)
            if not all(isinstance(shape, (list, tuple)) for shape in shapes):
                raise TypeError(
                    "`shapes` must be a list of shapes, such as [(3, 4), (4,)]. "
                    f"Received: shapes={shapes!r}"
                )
            shapes = [checks.shape("shapes", shape) for shape in shapes]
            names = names_of_shapes(shapes)
        roles = [None] * len(names) if roles is None else roles
        checks.require_kind((list, tuple), "roles", "be a list of roles", roles)
        if len(roles) != len(names):
            raise ValueError(
                f"`roles` must have one role per shape ({len(names)}). Received: roles={roles}"
            )
        return cls(
            [
                WeightTensor(name, shape, role=role, layout=layout)
                for name, shape, role in zip(names, shapes, roles)
            ]
        )

    @classmethod
    def from_layer_sizes(cls, layer_sizes: LayerSizes, activation: ActivationLike = "relu") -> Self:
        """Spec of a perceptron: `layer_0/kernel`, `layer_0/bias`, `layer_1/kernel`, ...

        Args:
            layer_sizes: List of pairs `(in, out)` that chain, as `ApplyGeneratedWeights` takes it.
            activation: Between the layers. By it the tensors have their initializers: He's for
                ReLU and its like, SIREN's for `sine`, Glorot's for others and for the last layer.
        """
        layer_sizes = checks.layer_sizes("layer_sizes", layer_sizes)
        activation, tensors = checks.activation("activation", activation), []
        for i, (inputs, outputs) in enumerate(layer_sizes):
            last = i == len(layer_sizes) - 1
            kernel, bias = of_target(activation, inputs, first=i == 0, last=last)
            tensors += [
                WeightTensor(f"layer_{i}/kernel", (inputs, outputs), initializer=kernel),
                WeightTensor(f"layer_{i}/bias", (outputs,), initializer=bias),
            ]
        return cls(tensors)

    @classmethod
    def from_layer(cls, layer: keras.layers.Layer, argument: str = "layer") -> Self:
        """Spec of a built Keras layer's parameters, named by variable path.

        In the order of `layer.weights`, frozen ones too, without state such as moving averages.

        Args:
            layer: The layer.
            argument: What an error calls it.
        """
        checks.instance(argument, layer, keras.layers.Layer)
        if not layer.built:
            raise ValueError(
                f"`{argument}` must be built: call it on data, or call its `build` method, first. "
                f"Received: {argument}={layer}"
            )
        tensors = [tensor_of_variable(*pair) for pair in keras_internals.parameters(layer)]
        if not tensors:
            raise ValueError(
                f"`{argument}` must have weights to generate. Received: {argument}={layer}"
            )
        return cls(tensors)

    @classmethod
    def from_model(cls, model: keras.Model) -> Self:
        """Spec of a built Keras model's parameters: as `from_layer`.

        Names begin with the model's layers': name these where a spec is stored or compared.
        """
        return cls.from_layer(model, "model")

    @classmethod
    def of(cls, spec: SpecLike, argument: str = "spec") -> WeightSpec:
        """A spec from a spec, a list or dict of shapes, or a spec's config.

        Args:
            spec: What it is made of.
            argument: What an error calls it.
        """
        if isinstance(spec, WeightSpec):
            return spec
        if isinstance(spec, dict):
            tensors = spec.get("tensors")
            if isinstance(tensors, (list, tuple)) and all(isinstance(t, dict) for t in tensors):
                return cls.from_config(spec)
        if isinstance(spec, (list, tuple, dict)):
            try:
                return cls.from_shapes(spec)
            except (TypeError, ValueError) as error:
                raise type(error)(f"`{argument}` makes no `WeightSpec`: {error}") from error
        raise TypeError(
            f"`{argument}` must be a `WeightSpec`, a list of shapes or a dict of names to shapes. "
            f"Received: {argument}={spec!r} of type {type(spec).__name__}"
        )

    # What is in it.

    def __len__(self):
        return len(self._tensors)

    def __iter__(self):
        return iter(self._tensors)

    def __getitem__(self, name):
        """The tensor of that name, or at that position."""
        if isinstance(name, str):
            return self._by_name[name]
        return self._tensors[name]

    def __contains__(self, name):
        return name in self._by_name

    def __eq__(self, other):
        return isinstance(other, WeightSpec) and self._tensors == other._tensors

    def __hash__(self):
        return hash(self._tensors)

    @property
    def names(self):
        return [tensor.name for tensor in self]

    @property
    def shapes(self):
        return [tensor.shape for tensor in self]

    @property
    def roles(self):
        return [tensor.role for tensor in self]

    @property
    def offsets(self):
        return [tensor.offset for tensor in self]

    @property
    def sizes(self):
        return [tensor.size for tensor in self]

    @property
    def layers(self) -> dict[str, WeightSpec]:
        """`{layer name: WeightSpec of its tensors}`, in order."""
        members = {}
        for tensor in self:
            members.setdefault(tensor.layer, []).append(tensor)
        return {layer: WeightSpec(tensors) for layer, tensors in members.items()}

    # Cutting and joining NumPy arrays.

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """`[..., total]` -> `{name: [..., *shape]}`."""
        array = self._check_width(array)
        pieces = np.split(array, self.offsets[1:], axis=-1)
        return {
            tensor.name: piece.reshape((*array.shape[:-1], *tensor.shape))
            for tensor, piece in zip(self, pieces)
        }

    def pack(self, arrays: dict[str, np.ndarray] | Sequence[np.ndarray]) -> np.ndarray:
        """`{name: [..., *shape]}`, or a list in order, -> `[..., total]`."""
        arrays = [np.asarray(array) for array in self.in_order(arrays, "arrays")]
        leads = [a.shape[: a.ndim - len(tensor.shape)] for tensor, a in zip(self, arrays)]
        if len(set(leads)) > 1:
            raise ValueError(
                "`arrays` must have the same axes before those of the spec's shapes. "
                f"Received: {dict(zip(self.names, leads))}"
            )
        sized = zip(arrays, leads, self.sizes)
        flat = [array.reshape((*lead, size)) for array, lead, size in sized]
        return np.concatenate(flat, axis=-1)

    def split_layers(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """`[..., total]` -> `{layer name: [..., that layer's total]}`."""
        array, layers = self._check_width(array), self.layers
        ends = np.cumsum([layer.total for layer in layers.values()])
        return dict(zip(layers, np.split(array, ends[:-1], axis=-1)))

    def pack_layers(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """`{layer name: [..., that layer's total]}` -> `[..., total]`."""
        layers = self.layers
        checks.exact_keys("arrays", arrays, layers)
        for name, layer in layers.items():
            layer._check_width(arrays[name], f"arrays[{name!r}]")
        return np.concatenate([np.asarray(arrays[name]) for name in layers], axis=-1)

    def in_order(
        self, tensors: dict[str, Tensor] | Sequence[Tensor], argument: str = "tensors"
    ) -> list[Tensor]:
        """The values of a dict by name, or of a list, in this spec's order, shapes checked.

        Args:
            tensors: The dict or the list.
            argument: What an error calls it.
        """
        if isinstance(tensors, dict):
            checks.exact_keys(argument, tensors, self._by_name)
            tensors = [tensors[name] for name in self.names]
        if not isinstance(tensors, (list, tuple)):
            raise TypeError(
                f"`{argument}` must be a dict by name or a list in the spec's order. "
                f"Received: {type(tensors).__name__}"
            )
        if len(tensors) != len(self):
            raise ValueError(
                f"`{argument}` must have one entry per tensor of the spec ({len(self)}). "
                f"Received: {len(tensors)}"
            )
        for tensor, value in zip(self, tensors):
            has_shape = hasattr(value, "shape")
            received = tuple((value if has_shape else checks.numpy_array(argument, value)).shape)
            if received[len(received) - len(tensor.shape) :] != tensor.shape:
                raise ValueError(
                    f"`{argument}` must end in the shapes of the spec: {tensor.name} is "
                    f"{tensor.shape}. Received: shape {received}"
                )
        return list(tensors)

    # Storing and printing.

    def get_config(self) -> Config:
        return {"tensors": [tensor.get_config() for tensor in self]}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        checks.config_keys("config", config, ("tensors",))
        return cls(config["tensors"])

    def to_json(self):
        return json.dumps(self.get_config())

    @classmethod
    def from_json(cls, text):
        checks.require_kind((str, bytes), "text", "be what `to_json` returns", text)
        try:
            config = json.loads(text)
        except ValueError as error:
            raise ValueError(
                f"`text` must be what `to_json` returns. Received: {text!r}"
            ) from error
        return cls.from_config(config)

    def _table(self):
        layouts = any(t.layout != "keras" for t in self)
        rows = [("name", "role", "shape", "fans", "offset", "size", *["layout"] * layouts)]
        for t in self:
            fans = "-" if t.fan_in is None else f"{t.fan_in} -> {t.fan_out}"
            row = (t.name, t.role, str(t.shape), fans, str(t.offset), str(t.size))
            rows.append((*row, *[t.layout] * layouts))
        counts = [(len(self), "tensor"), (len(self.layers), "layer"), (self.total, "weight")]
        title = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counts)
        return Table(rows, f"WeightSpec: {title}")

    def _check_names(self):
        if len(self._by_name) != len(self._tensors):
            repeated = sorted({n for n in self.names if self.names.count(n) > 1})
            raise ValueError(f"Tensor names must be unique. Received repeated: {repeated}")
        finished, current = set(), None
        for tensor in self:
            if tensor.layer != current:
                finished.add(current)
                current = tensor.layer
                if current in finished:
                    raise ValueError(
                        "The tensors of one layer must stand together. "
                        f"Received layer {current!r} in pieces: {self.names}"
                    )

    def _check_width(self, array, argument="array"):
        array = checks.numpy_array(argument, array)
        if array.ndim < 1 or array.shape[-1] != self.total:
            raise ValueError(
                f"`{argument}` must have the spec's {self.total} weights on its last axis. "
                f"Received: shape {array.shape}"
            )
        return array


def _with_fans_of_kernels(tensors):
    """The tensors of a spec; those without fans get the ones of their layer's kernel."""
    of_layer = {}
    for tensor in tensors:
        if tensor.role == "kernel":
            of_layer.setdefault(tensor.layer, {"fan_in": tensor.fan_in, "fan_out": tensor.fan_out})
    for tensor in tensors:
        known = {} if tensor.fan_in is not None else of_layer.get(tensor.layer, {})
        yield dataclasses.replace(tensor, **known) if known else tensor
