"""`TargetLayer`: one layer of a model whose weights are to be generated."""

import contextlib
import dataclasses
import math

import keras

from keras_hypernet.layers.changed_layer import ChangedLayer
from keras_hypernet.layers.hyper import Hyper
from keras_hypernet.layers.inside import error_without_rule
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.layers.tensor_plan import LOW_RANK, TensorPlan
from keras_hypernet.models.select import Parameters
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.copying import value_of
from keras_hypernet.utils.naming import free_name
from keras_hypernet.weights.layer_tensors import tensor_of_layer, tensor_of_variable

RANK = 4  # by default


@dataclasses.dataclass(frozen=True)
class Options:
    """What `hypernetize` is asked for, as in its arguments."""

    mode: str
    rank: int | None
    generate: str
    alpha: float | None
    freeze: str | None
    shared: bool
    copy: bool
    check_rows: bool


class TargetLayer:
    """A layer of a target model, what is generated for it, and the hyper layer in its place.

    Args:
        layer: The built Keras layer.
        name: Of the `LayerWeights`, if there are any.
        parameters: The `Parameters` of its model.
        selected: Ids of the variables that are generated.
        options: The `Options`.

    `weights` are the `LayerWeights` between what is generated and the hyper layer; `None` where
    the hyper layer takes what is generated as it is.
    """

    def __init__(self, layer, name, parameters, selected, options):
        self.layer, self.options = layer, options
        self.parameters = parameters
        arguments = {
            "shared": options.shared,
            "copy": options.copy,
            "check_rows": options.check_rows,
            "regularize": False,
        }
        self.weights = None
        if options.mode == "replace":
            self._check_replaced(selected)
            plans = [self._plan(p, selected) for p in parameters.inside(layer).parameters]
            self.hyper = Hyper(layer, **arguments)
            self.planned = self.weights = self._layer_weights(plans, name)
        else:
            plans = [self._plan(p, selected) for p in self._selected(selected)]
            self.planned = self.hyper = ChangedLayer(layer, plans, **arguments)

    @property
    def is_hidden(self):
        """Whether the hyper layer has the state of the layer, and no weights."""
        return self.options.mode == "replace"

    @property
    def spec(self):
        """The `WeightSpec` of what is generated."""
        return self.planned.generated_spec

    def factored(self, features):
        """Whether factored weights save work: the layer contracts them, or something is added."""
        shapes = {plan.local: plan.shape for plan in self.planned.generated}
        contracted = not self.hyper.shared and self.hyper.contracts(shapes, features)
        return contracted or self.options.mode != "replace"

    def _selected(self, selected):
        """The parameters that are changed."""
        inside = self.parameters.inside(self.layer)
        found = {id(p.variable): p for p in (*inside.parameters, *inside.adapted)}
        return [found[id(v)] for _, v in self.parameters.of(self.layer) if id(v) in selected]

    def _check_replaced(self, selected):
        """Raises where a kernel that is quantized or has an adapter would be replaced."""
        adapted = self.parameters.inside(self.layer).adapted
        paths = [self.parameters.path(p.variable) for p in adapted if id(p.variable) in selected]
        if paths:
            raise ValueError(
                f"{', '.join(paths)}: a kernel that is quantized or has an adapter cannot be "
                "replaced. Use mode='delta' or 'low_rank', or leave it out with `select`. "
                "Received: mode='replace'"
            )

    def _plan(self, p, selected):
        path, mode = self.parameters.path(p.variable), self.options.mode
        mode = mode if id(p.variable) in selected else None
        if mode and p.variable.constraint is not None:
            raise ValueError(
                f"{path} has a constraint, which generated weights cannot keep to: leave it out "
                f"with `select`, or build the model without. Received: {p.variable.constraint}"
            )
        if mode in ("delta", LOW_RANK):
            self._check_penalty(p, path)
        quantized = not keras.backend.is_float_dtype(p.variable.dtype)
        if quantized:
            tensor = tensor_of_layer(p.owner, p.local, p.shape)
        else:
            tensor = tensor_of_variable(p.owner, p.variable)
        regularizer, constraint = p.variable.regularizer, p.variable.constraint
        return TensorPlan(
            dataclasses.replace(tensor, name=path),
            p.name,
            mode=mode,
            **(self._update(p, path) if mode == LOW_RANK else {}),
            regularizer=regularizer and _config_of(regularizer, path),
            constraint=constraint and keras.constraints.serialize(constraint),
            trainable=p.variable.trainable and not (self.options.freeze == "all" and mode is None),
        )

    def _check_penalty(self, p, path):
        trained = p.variable.trainable and self.options.freeze is None
        if trained and p.variable.regularizer is not None and not self.options.copy:
            raise ValueError(
                f"{path} has a regularizer, which would count for the given model's weight and for "
                "the changed one: give `freeze='base'`, or `copy=True`. Received: copy=False, "
                "freeze=None"
            )

    def _update(self, p, path):
        """What the plan of an update of low rank has."""
        most = check_updatable(p, path)
        rank = min(RANK, most) if self.options.rank is None else self.options.rank
        if rank > most:
            raise ValueError(
                f"`rank` must not be above that of a kernel: {path} of shape {p.shape} has at most "
                f"{most}. Lower it, or leave the kernel out with `select`. Received: rank={rank}"
            )
        down, up = p.update_shapes(path, rank)
        return {
            "down": down,
            "up": up,
            "equation": p.update_equation(),
            "generate": self.options.generate,
            "factor": 1.0 if self.options.alpha is None else self.options.alpha / rank,
        }

    def _layer_weights(self, plans, name):
        variables = None if self.options.copy else self._kept(plans)
        for plan in plans:
            if variables and plan.mode is None:
                variables[plan.local].trainable = plan.trainable
        policy = keras_internals.float_policy(self.layer.dtype_policy)
        return LayerWeights(plans, variables=variables, dtype=policy, name=name)

    def _kept(self, plans):
        """`{local name: variable}` of the tensors that are not generated."""
        given = {p.name: p.variable for p in self.parameters.inside(self.layer).parameters}
        return {plan.local: given[plan.local] for plan in plans if plan.mode is None}

    def assign(self):
        """Gives weights that are not generated the values of the target, and freezes them."""
        if self.options.mode != "replace":
            if self.options.freeze is not None:
                self.hyper.freeze(everything=self.options.freeze == "all")
        elif self.options.copy:
            kept = self._kept(self.weights.plans)
            self.weights.assign({name: value_of(v) for name, v in kept.items()})


def _config_of(regularizer, path):
    """The config of a regularizer, which a hyper layer makes it anew from."""
    try:
        config = keras.regularizers.serialize(regularizer)
        keras.regularizers.get(config)
    except Exception as error:
        raise ValueError(
            f"{path} has a regularizer that no config makes anew, such as a lambda: register it "
            "with `keras.saving.register_keras_serializable`, or leave the weight out with "
            f"`select`. Received: {regularizer!r}"
        ) from error
    return config


def check_updatable(p, path):
    """The highest rank of an update of a parameter; raises where it takes none."""
    try:
        down, up = p.update_shapes(path, 1)
    except ValueError as error:
        all_of_it = ": a layer's name selects all its weights, `'*/kernel'` kernels alone."
        way = all_of_it if p.leaf else ", or `kh.register_rule` for its class."
        raise ValueError(f"{str(error).rstrip('.')}. Leave it out with `select`{way}") from error
    size = math.prod(p.shape)
    return min(size // math.prod(down), size // math.prod(up))


def select_target_layers(graph, select, options, taken):
    """The `TargetLayer`s of the layers of a graph that have selected weights.

    `taken`: names that no `LayerWeights` gets.
    """
    parameters = Parameters(graph)
    if not parameters.variables:
        raise ValueError(f"`model` must have weights to generate. Received: model={graph.model!r}")
    if select is None and options.mode == LOW_RANK:
        selected = _kernels(parameters)
    else:
        takes = _updatable(parameters) if options.mode == LOW_RANK else None
        selected = parameters.selected(select, takes)
    if not options.shared:
        _check_rules(parameters, selected)
    return [
        TargetLayer(layer, free_name(f"{layer.name}_weights", taken), parameters, selected, options)
        for layer in parameters.layers
        if any(id(variable) in selected for _, variable in parameters.of(layer))
    ]


def _updatable(parameters):
    """A function of a variable: whether it takes an update of low rank, as biases do not."""
    found = set()
    for layer in parameters.layers:
        inside = parameters.inside(layer)
        for p in {id(p.variable): p for p in (*inside.parameters, *inside.adapted)}.values():
            with contextlib.suppress(ValueError):
                p.update_shapes(p.name, 1)
                found.add(id(p.variable))
    return lambda variable: id(variable) in found


def _check_rules(parameters, selected):
    """Raises where what is selected cannot have a row of weights per sample."""
    without = []
    for layer in parameters.layers:
        inside = parameters.inside(layer)
        updatable = {id(p.variable) for p in inside.updatable.values()}
        chosen = [p for p in inside.parameters if id(p.variable) in selected]
        without += [p for p in chosen if id(p.variable) not in updatable]
    if without:
        names = [parameters.path(p.variable) for p in without]
        raise error_without_rule(names, without[0].owner)


def _kernels(parameters):
    """Ids of the kernels that are updated unless something is selected.

    Those of all dense layers, and of all convolutions without groups, frozen or not.
    """
    found, left = {}, []
    for layer in parameters.layers:
        inside = parameters.inside(layer)
        updatable = {id(p.variable): p for p in inside.updatable.values()}
        for inner in keras_internals.layers_in(layer):
            if not isinstance(inner, _UPDATED) or getattr(inner, "groups", 1) > 1:
                continue
            kernel = keras_internals.kernel_of(inner, "kernel")
            p = updatable.get(id(kernel))
            if p is not None and p.leaf.rule.updated_by_default:
                found[id(kernel)] = p
            else:
                left.append(kernel.path)
    if left:
        names = [parameters.path(p.variable) for p in found.values()]
        how = f"leave them out with `select={names}`" if names else "there are no others in `model`"
        raise ValueError(
            "`mode='low_rank'` cannot update kernels of layers that are subclasses with a `call` "
            f"of their own: `kh.register_rule` for their class, or {how}. Left out would be "
            f"{len(left)}: {left if len(left) <= 4 else [*left[:3], '...']}"
        )
    if not found:
        raise ValueError(
            "`mode='low_rank'` finds no kernel of a dense layer or a convolution in `model` that "
            "it could update: name what is to be updated with `select`."
        )
    return set(found)


_UPDATED = tuple(
    getattr(keras.layers, name)
    for name in (
        "Dense",
        "EinsumDense",
        *(f"Conv{n}D{kind}" for n in (1, 2, 3) for kind in ("", "Transpose")),
    )
)
