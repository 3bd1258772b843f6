"""`TargetLayer`: one layer of a model whose weights are to be generated."""

import dataclasses

import keras

from keras_hypernet.layers.hyper import Hyper
from keras_hypernet.layers.inside import Inside, error_without_rule
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.layers.tensor_plan import LOW_RANK, TensorPlan
from keras_hypernet.models.select import Parameters
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.copying import value_of
from keras_hypernet.utils.naming import free_name
from keras_hypernet.weights.layer_tensors import tensor_of_variable


class TargetLayer:
    """A layer of a target model, what is generated for it, and the hyper layer in its place.

    Args:
        layer: The built Keras layer.
        name: Of the `LayerWeights`.
        parameters: The `Parameters` of its model.
        selected: Ids of the variables that are generated.
        mode, rank: As in `hypernetize`.
        shared: Whether there is one set of weights for the whole batch.
        freeze, check_rows: As in `hypernetize`.
    """

    def __init__(self, layer, name, parameters, selected, mode, rank, shared, freeze, check_rows):
        self.layer = layer
        self.frozen = freeze == "all"
        self.owned = parameters.of(layer)
        self.paths = [parameters.path(variable) for _, variable in self.owned]
        self.hyper = Hyper(layer, shared, regularize=False, check_rows=check_rows)
        plans = [
            self._plan(
                owner, variable, path, local, mode if id(variable) in selected else None, rank
            )
            for (owner, variable), path, local in zip(
                self.owned, self.paths, self.hyper.tensor_names, strict=True
            )
        ]
        self.layer_weights = LayerWeights(
            plans,
            freeze_base=freeze is not None,
            dtype=keras_internals.float_policy(layer.dtype_policy),
            name=name,
        )

    @property
    def spec(self):
        """The `WeightSpec` of what is generated."""
        return self.layer_weights.generated_spec

    def factored(self, features):
        """Whether factored weights save work: the layer contracts them, or a base is added."""
        shapes = {plan.local: plan.shape for plan in self.layer_weights.generated}
        contracted = not self.hyper.shared and self.hyper.contracts(shapes, features)
        return contracted or self.layer_weights.has_base

    def _plan(self, owner, variable, path, local, mode, rank):
        tensor = dataclasses.replace(tensor_of_variable(owner, variable), name=path)
        if mode and variable.constraint is not None:
            raise ValueError(
                f"{path} has a constraint, which generated weights cannot keep to: leave it out "
                f"with `select`, or build the model without. Received: {variable.constraint}"
            )
        update = {}
        if mode == LOW_RANK:
            down, up = self.hyper.update_shapes(local, tensor.shape, rank)
            equation = self.hyper.update_equation(local, tensor.shape)
            update = {"down": down, "up": up, "equation": equation}
        regularizer, constraint = variable.regularizer, variable.constraint
        return TensorPlan(
            tensor,
            local,
            mode=mode,
            **update,
            regularizer=regularizer and keras.regularizers.serialize(regularizer),
            constraint=constraint and keras.constraints.serialize(constraint),
            trainable=variable.trainable and not (self.frozen and mode is None),
        )

    def assign(self):
        """Gives base and kept weights the values of the target."""
        values = {path: value_of(variable) for (_, variable), path in zip(self.owned, self.paths)}
        self.layer_weights.assign(values)


def select_target_layers(graph, select, mode, rank, shared, freeze, check_rows, taken):
    """The `TargetLayer`s of the layers of a graph that have selected weights.

    `taken`: names that no `LayerWeights` gets.
    """
    parameters = Parameters(graph)
    if not parameters.variables:
        raise ValueError(f"`model` must have weights to generate. Received: model={graph.model!r}")
    selected = parameters.selected(select)
    if select is None and mode == LOW_RANK:
        selected &= _updatable(parameters)
        _check_no_kernel_left_out(parameters, selected)
        if not selected:
            raise ValueError(
                "`mode='low_rank'` finds no trainable kernel in `model` that it could update."
            )
    if not shared:
        _check_rules(parameters, selected)
    return [
        TargetLayer(
            layer,
            free_name(f"{layer.name}_weights", taken),
            parameters,
            selected,
            mode,
            rank,
            shared,
            freeze,
            check_rows,
        )
        for layer in parameters.layers
        if any(id(variable) in selected for _, variable in parameters.of(layer))
    ]


def _check_rules(parameters, selected):
    """Raises where what is selected cannot have a row of weights per sample."""
    without = [
        p
        for layer in parameters.layers
        for p in Inside(layer).parameters
        if id(p.variable) in selected and p.leaf is None
    ]
    if without:
        names = [parameters.path(p.variable) for p in without]
        raise error_without_rule(names, without[0].owner)


def _updatable(parameters):
    """Ids of the variables that an update of low rank can be made for."""
    found = set()
    for layer in parameters.layers:
        inside = Inside(layer)
        for p in inside.parameters:
            if p.leaf is None:
                continue
            try:
                p.leaf.rule.update_shapes(p.leaf.layer, p.local, p.shape, 1)
            except ValueError:
                continue
            found.add(id(p.variable))
    return found


def _check_no_kernel_left_out(parameters, selected):
    """Raises where a trained kernel of a dense layer, wherever it is, would not be updated."""
    inside = {id(x): x for layer in parameters.layers for x in keras_internals.layers_in(layer)}
    left = [
        path
        for dense in inside.values()
        if isinstance(dense, (keras.layers.Dense, keras.layers.EinsumDense))
        for path in _kernels(dense, parameters, selected)
    ]
    if left:
        names = [parameters.path(v) for v in parameters.variables if id(v) in selected]
        how = f"leave them out with `select={names}`" if names else "there are no others in `model`"
        raise ValueError(
            "`mode='low_rank'` cannot update kernels of dense layers that are subclasses with a "
            f"`call` of their own, or have adapters or quantization: {how}. Left out would be "
            f"{len(left)}: {left if len(left) <= 4 else [*left[:3], '...']}"
        )


def _kernels(dense, parameters, selected):
    """Paths of the trained kernels of a dense layer that are not selected."""
    paths = {id(v): parameters.path(v) for _, v in parameters.of(dense)}
    kernels = [v for v in dense.weights if v.name == "kernel"]
    trained = any(v.trainable and "kernel" in v.name for v in dense.weights)
    if dense.trainable and (trained or dense.quantization_mode):
        return [paths.get(id(v), v.path) for v in kernels if id(v) not in selected]
    return []
