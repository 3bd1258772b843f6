"""What a built layer has inside: its parameters, and the leaves that have a rule."""

from __future__ import annotations

import dataclasses
import inspect
from functools import partial

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.rules import Rule, has_own_rule, is_adapted, rule_of
from keras_hypernet.layers.structures import cast_floats
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.functional_call import outputs_with
from keras_hypernet.utils.naming import named, named_variables


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A layer with a rule, by its name in the layer around it: `""` if that is itself.

    `first` is the name of its first call argument, `takes_training` whether its rule takes that.
    One that is quantized or has an adapter is `adapted`: its rule adds updates of its kernel, and
    changes of its bias, to what it makes itself.
    """

    name: str
    layer: keras.layers.Layer
    rule: Rule
    first: str
    takes_training: bool
    adapted: bool = False

    @classmethod
    def of(cls, name, layer, rule):
        first = list(inspect.signature(type(layer).call).parameters)[1]
        takes_training = "training" in inspect.signature(rule.apply).parameters
        return cls(name, layer, rule, first, takes_training, is_adapted(layer))

    def data_of(self, args, kwargs):
        """The first argument of a call."""
        return args[0] if args else kwargs[self.first]

    def full_name(self, local):
        return f"{self.name}/{local}" if self.name else local

    def base(self, values=None):
        """A function of data: what an adapted layer makes of them before its activation.

        `values` are `[(variable, value)]` of the layer; `None` is the present ones.
        """
        run = keras_internals.before_activation(self.layer)
        if values is None:
            with keras_internals.without_autocast():
                values = [(v, v.value) for v in self.layer.variables]
        return lambda x, training=None: outputs_with(values, lambda: run(x, training))


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A variable that is given as a tensor: of a leaf, where it is called `local`, or of none.

    `shape` is that of the tensor; a quantized variable may have another one.
    """

    name: str
    variable: keras.Variable
    owner: keras.layers.Layer
    shape: tuple
    leaf: Leaf | None = None
    local: str | None = None

    def update_shapes(self, where, rank):
        """Shapes of `down` and `up` of an update; errors say where the parameter is."""
        if self.leaf is None:
            raise ValueError(
                f"{where} takes no update of low rank: there is no rule for the layer "
                f"{self.owner.name!r} of class {type(self.owner).__name__}, which made it."
            )
        try:
            return self.leaf.rule.update_shapes(self.leaf.layer, self.local, self.shape, rank)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def update_equation(self):
        """The einsum equation of `down` and `up` for their product."""
        return self.leaf.rule.update_equation(self.leaf.layer, self.local, self.shape)

    @property
    def is_adapted(self):
        """Whether it is a kernel that is quantized or has an adapter."""
        return self.leaf is not None and self.leaf.adapted and self.local != "bias"

    def own(self):
        """The variable's value, as a tensor of one row."""
        return ops.expand_dims(self.variable, 0)


class Inside:
    """The parameters of a built layer in the order of `layer.weights`, and its leaves.

    `itself` is the leaf that the layer itself is, if a rule of this package is for its class: the
    rule runs in place of its call. A subclass may do more there, or another rule may. `updatable`
    has all that may take an update of low rank, kernels of adapted leaves too, by name.
    """

    def __init__(self, layer):
        names = {id(v): name for name, v in named_variables(layer).items()}
        of_leaves, leaves = {}, {}
        for leaf in _leaves(layer, ""):
            if id(leaf.layer) not in leaves:
                leaves[id(leaf.layer)] = leaf
                for local, variable in leaf.rule.variables(leaf.layer).items():
                    if local == "bias" or not leaf.adapted:
                        of_leaves.setdefault(id(variable), (leaf, local))
        self.variable_ids = {id(variable) for variable in layer.variables}
        self.parameters = []
        for owner, variable in keras_internals.parameters(layer):
            leaf, local = of_leaves.get(id(variable), (None, None))
            name = names[id(variable)] if leaf is None else leaf.full_name(local)
            shape = tuple(variable.shape)
            self.parameters.append(Parameter(name, variable, owner, shape, leaf, local))
        self.adapted = [p for leaf in leaves.values() if leaf.adapted for p in _adapted(leaf)]
        self._index()
        self.leaves = list({id(p.leaf): p.leaf for p in self.updatable.values()}.values())
        self.itself = self.leaves[0] if self.leaves and has_own_rule(layer) else None

    def is_present(self):
        """Whether layers are quantized and have adapters as they had when this was read."""
        return all(leaf.adapted == is_adapted(leaf.layer) for leaf in self.leaves)

    def rename(self, names):
        """Gives the parameters that are called otherwise these names, in their order.

        What was quantized after it was built has the same names in another order.
        """
        if len(names) != len(self.parameters):
            raise ValueError(
                f"made anew from its config, the layer has the weights {list(self.by_name)}, and "
                f"not {names}"
            )
        others = iter([name for name in names if name not in self.by_name])
        renamed = {p.name: p.name if p.name in names else next(others) for p in self.parameters}
        self.parameters = [dataclasses.replace(p, name=renamed[p.name]) for p in self.parameters]
        self._index()

    def _index(self):
        self.by_name = {p.name: p for p in self.parameters}
        self.shapes = {p.name: p.shape for p in self.parameters}
        of_leaves = [*(p for p in self.parameters if p.leaf), *self.adapted]
        self.updatable = {p.name: p for p in of_leaves}
        self.of_leaf = {}
        for p in of_leaves:
            self.of_leaf.setdefault(id(p.leaf), []).append(p)


def _leaves(layer, name):
    """The outermost layers with a rule, the layer itself included, once for each place."""
    rule = rule_of(layer)
    if rule is not None:
        yield Leaf.of(name, layer, rule)
        return
    for inner_name, inner in named(keras_internals.sublayers(layer)):
        yield from _leaves(inner, f"{name}/{inner_name}" if name else inner_name)


def _adapted(leaf):
    """The kernels of an adapted leaf."""
    for local, shape in leaf.rule.adapted_kernels(leaf.layer).items():
        variable = keras_internals.kernel_of(leaf.layer, local)
        yield Parameter(leaf.full_name(local), variable, leaf.layer, shape, leaf, local)


def error_without_rule(names, owner):
    """The error for tensors with rows that a layer without a rule makes for itself."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ValueError(
        f"{', '.join(names[:4])}{more}: what a layer without a rule makes for itself takes one row "
        "of weights for the whole batch, and not a row for each. Give `shared=True`, for one "
        "condition a batch; or leave it out (`select`), as a tensor of one row; or "
        f"`kh.register_rule` for its class, {type(owner).__name__}."
    )


def run_leaf(leaf, tensors, *args, **kwargs):
    """What a leaf returns for its call arguments, on tensors by their local names.

    Tensors and outputs are in the leaf's compute dtype.
    """
    dtype = leaf.layer.compute_dtype
    tensors = {name: named_weights.cast(tensor, dtype) for name, tensor in tensors.items()}
    if not args:
        args = (kwargs.pop(leaf.first),)
    training = kwargs.get("training")
    if leaf.adapted and training is not None:
        tensors = {name: _in_training(entry, training) for name, entry in tensors.items()}
    if not leaf.takes_training:
        kwargs.pop("training", None)
    outputs = leaf.rule.apply(leaf.layer, args[0], tensors, *args[1:], **kwargs)
    return cast_floats(outputs, dtype)


def _in_training(entry, training):
    if not named_weights.is_update(entry):
        return entry
    return {**entry, "base": partial(entry["base"], training=training)}
