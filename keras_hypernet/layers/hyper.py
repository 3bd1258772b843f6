"""`Hyper`: any Keras layer, block or model on generated weights."""

from __future__ import annotations

import dataclasses
import inspect
from functools import partial

import keras
from keras import ops, tree

from keras_hypernet.layers import adapted, named_weights, rows_check
from keras_hypernet.layers.dense_orders import DenseOrders
from keras_hypernet.layers.hidden_layer import HiddenLayer, check_parts
from keras_hypernet.layers.hyper_layer import Untracked
from keras_hypernet.layers.inside import Inside, error_without_rule, run_leaf
from keras_hypernet.layers.rules import has_own_rule
from keras_hypernet.layers.scope import Scope, make_scoped
from keras_hypernet.layers.structures import (
    batch_of,
    cast_floats,
    each,
    shape_of,
    symbols,
    symbols_of_shapes,
)
from keras_hypernet.ops import contractions, rows
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.copying import copy_of
from keras_hypernet.utils.functional_call import functional_call, spec_of_call
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.observing import observed
from keras_hypernet.utils.types import Config, Nest, Tensor, Weights
from keras_hypernet.weights import forms
from keras_hypernet.weights.layer_tensors import tensor_of_layer
from keras_hypernet.weights.spec import WeightSpec


@keras.saving.register_keras_serializable(package="keras_hypernet")
class Hyper(HiddenLayer):
    """Runs a layer, block or model on generated weights.

    `y[b] = layer(x[b])` with the weights of row `b // (batch // rows)` in place of the layer's
    variables. It is called as `hyper(x, weights, *more, **kwargs)`, where `layer(x, *more,
    **kwargs)` is the layer's own call, and has the layer's name.

    Most layers of Keras take weights per row by a rule; `kh.register_rule` makes rules for others.
    A layer without a rule is looked into: the layers inside it that have one take their rows from
    the call around them. What a layer without a rule makes for itself (`add_weight` in a block, the
    cells of a recurrent layer) takes one row for the whole batch.

    Args:
        layer: The Keras layer. One that is not built becomes this layer's own, a built one is
            copied.
        shared: Whether the weights have a single row for the whole batch: then the layer's own
            `call` runs on them, whatever its class.
        contraction: Order of the product of data and factored dense kernels. `"materialize"`
            builds the kernel of every row, as regularizers need; `"project"` and `"outer"` never
            do. `"auto"` chooses the cheapest from static shapes and the backend. All give the same
            numbers up to rounding.
        regularize: Whether the weight regularizers of the layer penalize the generated weights,
            mean over rows.
        copy: Whether a built layer is copied. One that is not does in other calls what it did, and
            has the flag `trainable` of the layer around it.
        check_rows: Whether a layer that no rule of this package is for is tried out, on small
            random data, when tensors first get weights per row, or a call other options: a row
            alone must give what it gives in a batch.
        **kwargs: `name`, `trainable` and `autocast`. The dtype is that of `layer`.

    Call arguments:
        x: What the layer takes first, of any structure, with the batch in front.
        weights: In place of the layer's weights, as `hyper.spec(x.shape)` says: flat `(rows,
            total)`, each tensor row-major, or factored, or a dict by the names in
            `hyper.tensor_names` of tensors `(rows, *shape)` or `(1, *shape)`; floating. `rows`
            divides the batch.
        *args, **kwargs: The layer's further arguments.

    Returns:
        What the layer returns.

    Raises:
        TypeError: if `layer` is not a Keras layer, or weights are not floating.
        ValueError: where the layer raises it; if it has no weights, or those of another library;
            if shapes do not fit, or rows do not divide the batch; if there are rows for a tensor
            that takes one, or a block does not keep the batch in front, by name.

    Example:

    >>> hyper = kh.Hyper(keras.layers.Conv2D(16, 3, padding="same"))
    >>> x = np.ones((4, 8, 8, 3), "float32")
    >>> weights = np.ones((2, hyper.spec(x.shape).total), "float32")
    >>> y = hyper(x, weights)  # rows 0, 1 use the first weights, 2, 3 the second
    >>> keras.ops.shape(y)
    (4, 8, 8, 16)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106).
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        shared: bool = False,
        contraction: str = "auto",
        regularize: bool = True,
        copy: bool = True,
        check_rows: bool = True,
        **kwargs: Tensor,
    ) -> None:
        contraction = contractions.check(contraction)
        regularize = checks.boolean("regularize", regularize)
        check_rows = checks.boolean("check_rows", check_rows)
        super().__init__(layer, copy=copy, shared=shared, **kwargs)
        self.contraction = contraction
        self.regularize = regularize
        self.check_rows = check_rows
        self._is_own = copy  # whether nobody else has the layer inside
        self._inside = Untracked(None)
        self._orders = Untracked(None)
        self._single = set()  # names of tensors without a rule that were built with one row
        layer = self.wrapped_layer()
        self._rows_checked = {}  # what a call asks for -> names of tensors that may have rows
        if has_own_rule(layer):  # whose own `call` does not run
            self.activity_regularizer = layer.activity_regularizer
        if layer.built:
            self._read()

    # What there is to generate.

    @property
    def tensor_names(self) -> list[str]:
        """Names of the layer's parameters, in order. The layer must be built, as by `spec`."""
        return list(self.inside().shapes)

    def spec(self, x_shape: Nest, *others: Nest, **named: Nest) -> WeightSpec:
        """The `WeightSpec` of what is to be generated.

        Args:
            x_shape: Shape of the data, or a structure of shapes, or KerasTensors.
            *others: The same of the further call arguments.
            **named: The same of those that are given by name.
        """
        args, kwargs = symbols_of_shapes(x_shape, *others, **named)
        self._build_layer(*args, **kwargs)
        return WeightSpec(self.tensors_to_generate())

    def tensors_to_generate(self):
        """The `WeightTensor`s of what is to be generated."""
        return self.parameter_tensors()

    def parameter_tensors(self):
        """The `WeightTensor`s of the layer's parameters."""
        tensors = []
        for p in self.inside().parameters:
            tensor = tensor_of_layer(p.owner, p.variable.name, p.shape)
            tensors.append(dataclasses.replace(tensor, name=f"{self.name}/{p.name}"))
        return tensors

    def inside(self) -> Inside:
        """What the built layer has."""
        if self._inside.value is None:
            raise ValueError(
                f"The layer {self.name!r} must be built, for its weights to be known: call it, or "
                "`spec(x_shape)`, first."
            )
        return self._inside.value

    def orders(self) -> DenseOrders:
        """In which order its dense kernels are contracted."""
        return self._orders.value

    def update_shapes(self, name, shape, rank):
        """Shapes of `down` and `up` that update a tensor of a shape by a product of low rank."""
        return self.inside().by_name[name].update_shapes(f"{self.name}/{name}", rank)

    def _build_layer(self, *args, **kwargs):
        """Builds the layer for call arguments of which only shapes count, and reads it."""
        if self._inside.value is not None:
            return
        layer = self.wrapped_layer()
        if not layer.built:
            args, kwargs = symbols(args), symbols(kwargs)
            self.build_layer(layer, lambda: layer(*args, **kwargs))
        self._read()

    def _read(self):
        layer = self.wrapped_layer()
        check_parts(layer)
        inside = Inside(layer)
        self.check_inside(inside)
        self._set_inside(inside)
        self.input_spec = layer.input_spec
        self.hold_state()
        for leaf in inside.leaves:
            if leaf is not inside.itself:
                make_scoped(leaf.layer)

    def check_inside(self, inside):
        """Raises on a layer that there is nothing to generate for."""
        if not inside.parameters:
            layer = self.wrapped_layer()
            raise ValueError(f"`layer` must have weights to generate. Received: layer={layer!r}")

    def _set_inside(self, inside):
        self._inside = Untracked(inside)
        self._penalties = Untracked(self.penalties(inside))
        self._orders = Untracked(DenseOrders(self.contraction, inside, self._penalties.value))

    def penalties(self, inside):
        """`{name: regularizer}` of the tensors whose generated values are penalized."""
        found = [(p.name, p.variable.regularizer) for p in inside.parameters if self.regularize]
        return {name: regularizer for name, regularizer in found if regularizer is not None}

    # Checks.

    def check_call(self, x, weights, *args, **kwargs):
        known, layer = self._inside.value is not None, self.wrapped_layer()
        try:
            self._build_layer(x, *args, **kwargs)
            self.check_weights(weights)
            x_shape, weights_shape = each(shape_of, x), self.entry_shapes(forms.shapes_of(weights))
            self.check_shapes(x_shape, weights_shape)
            if self.check_rows and not has_own_rule(layer):
                self._check_rows(self._per_row(weights_shape), (x, *args), kwargs)
        except Exception:
            if not known:  # a failed call changes nothing
                self._start_again(layer)
            raise
        self._keep_shapes(x_shape, weights_shape)

    def _check_rows(self, per_row, args, kwargs):
        """Tries out what was not tried out before: other tensors with rows, or another call."""
        asked = rows_check.options(args, kwargs)
        known = self._rows_checked.get(asked, [])
        if not per_row <= set(known):
            rows_check.check(self, per_row, args, kwargs)
            self._rows_checked[asked] = sorted(per_row.union(known))

    def _start_again(self, layer):
        self._inside = Untracked(None)
        if not self._is_own:
            return
        try:
            fresh = copy_of(layer)
        except ValueError:  # its config does not make it anew
            return
        give_unique_path(fresh)
        self.hold(fresh)
        self.input_spec = fresh.input_spec

    def check_tensors(self, x):
        each(partial(checks.tensor, "x"), x)

    def check_weights(self, weights):
        named_weights.check_weights(weights, self.tensor_names)

    def check_forms(self, weights_shape):
        """Raises on shapes of weights that are not those of the tensors."""
        named_weights.check_shapes(weights_shape, self.inside().shapes, self.update_shapes)

    # What weights are, where they are not what is given: a subclass says it.

    def entries(self, weights):
        """Weights as they are used, in any form, or those of some tensors by name."""
        return weights

    def entry_shapes(self, weights_shape):
        """The shapes of `entries`."""
        return weights_shape

    def check_shapes(self, x_shape, weights_shape):
        self.check_forms(weights_shape)
        inside = self.inside()
        counts = named_weights.row_counts(weights_shape, inside.shapes)
        self.check_row_counts(batch_of(x_shape), [n for its in counts.values() for n in its])
        self.orders().check(weights_shape, self.wrapped_layer())
        if inside.itself is not None:
            return
        per_row = self._per_row(weights_shape)
        adapted.check_not_replaced(self.name, inside, per_row, weights_shape)
        own = [p for p in inside.parameters if p.name in per_row - set(inside.updatable)]
        if own:
            raise error_without_rule([f"{self.name}/{p.name}" for p in own], own[0].owner)

    def _per_row(self, weights_shape):
        """Names of the tensors that may have more than one row."""
        if self.shared:
            return set()
        if not named_weights.is_named(weights_shape):
            count = forms.row_count(weights_shape)
            if isinstance(count, int):
                return set() if count == 1 else set(self.inside().shapes)
        found = set()
        for name, counts in named_weights.row_counts(weights_shape, self.inside().shapes).items():
            # Not `is not None`: while torch exports, a dynamic size is a symbol.
            known = [count for count in counts if isinstance(count, int)]
            hidden = len(known) < len(counts) and name not in self._single
            if hidden or any(count != 1 for count in known):
                found.add(name)
        return found

    def build(self, x_shape: Nest, weights_shape: Nest, *others: Nest, **named: Nest) -> None:
        args, kwargs = symbols_of_shapes(x_shape, *others, **named)
        self._build_layer(*args, **kwargs)
        self._keep_shapes(x_shape, self.entry_shapes(weights_shape))

    def _keep_shapes(self, x_shape, weights_shape):
        if self.orders().built_shapes is None:
            inside = self.inside()
            own = {p.name for p in inside.parameters if p.name not in inside.updatable}
            self._single = own - self._per_row(weights_shape)
            self.orders().build(x_shape, weights_shape)

    # Running.

    def call(self, x: Nest, weights: Weights, *args: Tensor, **kwargs: Tensor) -> Nest:
        return observed(self, self._outputs_on(x, weights, *args, **kwargs))

    def _outputs_on(self, x, weights, *args, **kwargs):
        leaf = self.inside().itself
        per_row = self._per_row(self.entry_shapes(forms.shapes_of(weights)))
        weights = self.entries(weights)
        whole = leaf and leaf.rule.takes_whole and not named_weights.is_named(weights)
        if whole and not self.orders().penalized:
            return self._run_whole(leaf, x, weights)
        tensors = self._tensors(weights, per_row)
        for name, regularizer in self._penalties.value.items():
            tensor = self._multiplied(name, tensors[name])
            self.add_loss(named_weights.mean_over_rows(regularizer, tensor))
        if leaf:
            return self.run_leaf(leaf, tensors, x, *args, **kwargs)
        tensors = adapted.over_adapted(self.inside(), tensors, per_row)
        if per_row:
            x = _divided(x, tensors[min(per_row)])
        return self.run(tensors, lambda: self.wrapped_layer()(x, *args, **kwargs), per_row)

    def _tensors(self, weights, per_row):
        """Weights in any form -> tensors by name, of which some have rows."""
        inside = self.inside()
        single = {*inside.shapes, *inside.updatable} - per_row
        return named_weights.tensors_of(weights, inside.shapes, single, self.orders().kernels)

    def run(self, tensors, function, per_row):
        """What a function that calls the layer returns, on tensors by name.

        A tensor that is not given is the layer's variable.
        """
        inside = self.inside()
        replaced, hidden = [], {}
        functions = {id(leaf.layer): None for leaf in inside.leaves}
        for name, tensor in tensors.items():
            update, p = named_weights.is_update(tensor), inside.updatable.get(name)
            if update and name not in per_row and not _runs_updates(p.leaf):
                tensor = self._multiplied(name, tensor)
            added = adapted.is_added(inside, p, tensors)
            if not isinstance(tensor, dict) and name not in per_row and not added:
                replaced.append((inside.by_name[name].variable, tensor[0]))
                continue
            functions[id(p.leaf.layer)] = partial(self.run_leaf, p.leaf, tensors)
            # A block may read what has one row.
            readable = update and name not in per_row and not p.leaf.adapted
            hidden[id(p.variable)] = partial(self._one, name, tensor) if readable else None
        with Scope(functions):
            outputs = functional_call(self.wrapped_layer(), replaced, function, self, hidden)
        self._check_nothing_new()
        return outputs

    def _check_nothing_new(self):
        known = self.inside().variable_ids
        new = [v for v in self.wrapped_layer().weights if id(v) not in known]
        if new:
            raise ValueError(
                f"The layer {self.name!r} of class {type(self.wrapped_layer()).__name__} must make "
                "all its weights when it is built, and not in a later call, where they would be "
                f"random. Received: a call that made {[variable.path for variable in new]}"
            )

    def run_leaf(self, leaf, tensors, *args, **kwargs):
        """What a leaf returns for its call arguments, on its own ones of tensors by name."""
        own, options = self.inside().of_leaf[id(leaf)], {}
        given = [p for p in own if p.name in tensors or not leaf.adapted]
        tensors = {p.local: tensors[p.name] if p.name in tensors else p.own() for p in given}
        for name in leaf.rule.contracts:
            if named_weights.is_factored(tensors.get(name)):
                x = leaf.data_of(args, kwargs)
                options["order"] = self.orders().order(
                    leaf, x.shape, forms.shapes_of(tensors[name])
                )
        return run_leaf(leaf, tensors, *args, **options, **kwargs)

    def _run_whole(self, leaf, x, weights):
        weights = forms.one_row(weights) if self.shared else weights
        order = self.orders().order(leaf, x.shape, forms.shapes_of(weights))
        y = leaf.rule.apply_whole(leaf.layer, x, weights, order)
        return cast_floats(y, leaf.layer.compute_dtype)

    def _multiplied(self, name, tensor):
        """A tensor `(rows, *shape)` as it is, or an update multiplied out."""
        if not named_weights.is_update(tensor):
            return tensor
        p = self.inside().updatable[name]
        if p.leaf.adapted:
            raise ValueError(
                f"{self.name}/{name} is quantized or has an adapter: an update of it cannot be "
                "multiplied out. Specialize, or read weights, before it is quantized, or merge "
                "the adapter first; calls and `predict` work as it is."
            )
        return named_weights.multiplied(tensor, p.update_equation())

    def _one(self, name, update):
        """The tensor that an update of a single row makes."""
        return self._multiplied(name, update)[0]

    def contracts(self, shapes, features):
        return self.orders().saves_work(shapes, features)

    def chosen_contraction(self, x_shape=None, weights_shape=None):
        """The orders that static shapes, or those that it was built with, choose for kernels."""
        return self.orders().chosen(x_shape, weights_shape)

    def contractions_of(self, weights):
        return [(self.name, self.chosen_contraction(), weights)]

    # What comes out, and what the weights are.

    def compute_output_spec(self, x, weights, *args, **kwargs):
        layer, leaf = self.wrapped_layer(), self.inside().itself
        if leaf is not None:
            taken = inspect.signature(layer.call).parameters  # `training` may be for all layers
            kwargs = {name: value for name, value in kwargs.items() if name in taken}
            return leaf.rule.output_spec(layer, x, *args, **kwargs)
        try:  # what comes out; what layers of Keras say of themselves is not always that
            return spec_of_call(layer, x, *args, **kwargs)
        except Exception:  # sizes that are not known may not suit
            return layer.compute_output_spec(x, *args, **kwargs)

    def compute_output_shape(
        self, x_shape: Nest, weights_shape: Nest = None, *others: Nest, **named: Nest
    ) -> Nest:
        args, kwargs = symbols_of_shapes(x_shape, *others, **named)
        self._build_layer(*args, **kwargs)
        outputs = self.compute_output_spec(args[0], None, *args[1:], **kwargs)
        return each(shape_of, outputs)

    def tensors_by_name(self, weights):
        shapes = self.inside().shapes
        tensors = named_weights.tensors_of(weights, shapes, shapes if self.shared else ())
        return {f"{self.name}/{name}": self._multiplied(name, t) for name, t in tensors.items()}

    def plain_layers(self, weights):
        tensors = self.tensors_by_name(weights).values()
        values = [ops.convert_to_numpy(tensor[0]) for tensor in tensors]
        state = keras_internals.state_of(self.wrapped_layer())
        return [(self.plain_layer(), values, state)]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "contraction": self.contraction,
            "regularize": self.regularize,
            "check_rows": self.check_rows,
            "tensor_names": self.tensor_names if self._inside.value else None,
            "rows_checked": {asked: list(names) for asked, names in self._rows_checked.items()},
        }

    @classmethod
    def from_config(cls, config: Config) -> Hyper:
        config = dict(config)
        names, rows_checked = config.pop("tensor_names"), config.pop("rows_checked")
        hyper = super().from_config(config)
        hyper._rows_checked = {asked: list(names) for asked, names in rows_checked.items()}
        if names is not None:
            # A variable without a name of its own is called differently in each process.
            hyper.inside().rename(names)
            hyper._set_inside(hyper.inside())
        return hyper


def _runs_updates(leaf):
    """Whether a rule may run an update where the layer's own call would do as well."""
    return leaf.adapted or has_own_rule(leaf.layer)


def _divided(x, weights):
    """The data as they are, which in a graph raise where rows of weights do not divide them.

    A block may merge the batch with what is behind it, which the rows may divide.
    """
    first, *others = tree.flatten(x)
    if isinstance(weights, dict):
        update = named_weights.is_update(weights)
        names = named_weights.rows_in(weights) if update else ["features"]
        weights = next(weights[n] for n in names if not rows.is_shared(weights[n]))
    if None not in (first.shape[0], weights.shape[0]):  # checked already
        return x
    mask = keras_internals.mask_of(first)
    first = rows.ungroup(rows.group(first, rows.count(weights)))
    if mask is not None:
        keras_internals.set_mask(first, mask)
    return tree.pack_sequence_as(x, [first, *others])
