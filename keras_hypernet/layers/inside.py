"""What a built layer has inside: its parameters, and the leaves that have a rule."""

from __future__ import annotations

import dataclasses
import inspect

import keras

from keras_hypernet.layers.rules import Rule, has_own_rule, rule_of
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.naming import named, named_variables


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A layer with a rule, by its name in the layer around it: `""` if that is itself.

    `first` is the name of its first call argument, `takes_training` whether its rule takes that.
    """

    name: str
    layer: keras.layers.Layer
    rule: Rule
    first: str
    takes_training: bool

    @classmethod
    def of(cls, name, layer, rule):
        first = list(inspect.signature(type(layer).call).parameters)[1]
        takes_training = "training" in inspect.signature(rule.apply).parameters
        return cls(name, layer, rule, first, takes_training)

    def full_name(self, local):
        return f"{self.name}/{local}" if self.name else local


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A variable that is given as a tensor: of a leaf, where it is called `local`, or of none."""

    name: str
    variable: keras.Variable
    owner: keras.layers.Layer
    leaf: Leaf | None = None
    local: str | None = None

    @property
    def shape(self):
        return tuple(self.variable.shape)


class Inside:
    """The parameters of a built layer in the order of `layer.weights`, and its leaves.

    `itself` is the leaf that the layer itself is, if a rule of this package is for its class: the
    rule runs in place of its call. A subclass may do more there, or another rule may.
    """

    def __init__(self, layer):
        names = {id(v): name for name, v in named_variables(layer).items()}
        of_leaves, leaves = {}, {}
        for leaf in _leaves(layer, ""):
            if id(leaf.layer) not in leaves:
                leaves[id(leaf.layer)] = leaf
                for local, variable in leaf.rule.variables(leaf.layer).items():
                    of_leaves.setdefault(id(variable), (leaf, local))
        self.variable_ids = {id(variable) for variable in layer.variables}
        self.parameters = []
        for owner, variable in keras_internals.parameters(layer):
            leaf, local = of_leaves.get(id(variable), (None, None))
            name = names[id(variable)] if leaf is None else leaf.full_name(local)
            self.parameters.append(Parameter(name, variable, owner, leaf, local))
        self._index()
        self.leaves = list({id(p.leaf): p.leaf for p in self.parameters if p.leaf}.values())
        self.itself = self.leaves[0] if self.leaves and has_own_rule(layer) else None

    @property
    def regularized(self):
        """Names of the parameters that have a regularizer."""
        return [p.name for p in self.parameters if p.variable.regularizer is not None]

    def rename(self, names):
        """Calls the parameters otherwise, in their order."""
        pairs = zip(self.parameters, names, strict=True)
        self.parameters = [dataclasses.replace(p, name=name) for p, name in pairs]
        self._index()

    def _index(self):
        self.by_name = {p.name: p for p in self.parameters}
        self.shapes = {p.name: p.shape for p in self.parameters}
        self.of_leaf = {}
        for p in self.parameters:
            self.of_leaf.setdefault(id(p.leaf), []).append(p)


def _leaves(layer, name):
    """The outermost layers with a rule, the layer itself included, once for each place."""
    rule = rule_of(layer)
    if rule is not None:
        yield Leaf.of(name, layer, rule)
        return
    for inner_name, inner in named(keras_internals.sublayers(layer)):
        yield from _leaves(inner, f"{name}/{inner_name}" if name else inner_name)


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
    """What a leaf returns for its call arguments, on tensors by their local names."""
    if not args:
        args = (kwargs.pop(leaf.first),)
    if not leaf.takes_training:
        kwargs.pop("training", None)
    return leaf.rule.apply(leaf.layer, args[0], tensors, *args[1:], **kwargs)
