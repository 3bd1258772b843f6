"""`LayerWeights`: from what a generator makes for a layer to all weights of the layer."""

import itertools

import keras
import numpy as np
from keras import ops

from keras_hypernet.layers.named_weights import mean_over_rows
from keras_hypernet.layers.tensor_plan import LOW_RANK, TensorPlan
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.trainable_flags import CompositeLayer
from keras_hypernet.weights import forms
from keras_hypernet.weights.forms import FACTORS
from keras_hypernet.weights.spec import WeightSpec


@keras.saving.register_keras_serializable(package="keras_hypernet")
class LayerWeights(CompositeLayer):
    """The weights of one target layer: generated ones, and variables for the others.

    A generated tensor is `change` from nothing (`1 + change` for a scale), `base + change` with a
    trained base, or `base + down @ up`, as its `TensorPlan` says. Tensors that are not generated
    are ordinary variables.

    Args:
        plans: List of `TensorPlan`, or their configs, one per tensor of the layer, in order.
        gates: `None`, or for each generated tensor where a trained number starts that its change is
            multiplied by: at 0 the base is what any generator starts from.
        freeze_base: Whether the base is not trained; nor is it if one of its weights was frozen.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        generated: What the generator makes for this layer, `generated_spec`: flat or factored.

    Returns:
        Weights as a hyper layer takes them: in the form of `generated` where all tensors are
        generated and none has a regularizer, else tensor by tensor.
    """

    def __init__(self, plans, gates=None, freeze_base=False, **kwargs):
        super().__init__(**kwargs)
        give_unique_path(self)
        self.plans = tuple(TensorPlan.of(plan) for plan in plans)
        self.initial_gates = gates
        self.freeze_base = checks.boolean("freeze_base", freeze_base)
        self.generated = tuple(plan for plan in self.plans if plan.mode is not None)
        self.has_base = any(plan.mode != "replace" for plan in self.generated)
        self.base = self.gates = None
        self.ordinary = {}
        self.regularizers = {p.local: keras.regularizers.get(p.regularizer) for p in self.plans}

    @property
    def generated_spec(self):
        """The `WeightSpec` of what is generated."""
        return WeightSpec([part for plan in self.generated for part in plan.parts()])

    @property
    def whole(self):
        """Whether what is generated is used in the form that it comes in."""
        return all(
            plan.mode is not None and plan.mode != LOW_RANK and plan.regularizer is None
            for plan in self.plans
        )

    @property
    def has_addend(self):
        """Whether something is added to what is generated."""
        return self.has_base or any(plan.addend for plan in self.generated)

    @property
    def changes_nothing(self):
        """Whether its weights are what is generated, and there is nothing more to know of them."""
        trained = all(plan.trainable for plan in self.plans)
        return self.whole and trained and not (self.initial_gates or self.has_addend)

    @property
    def trainable_flags(self):
        """For each tensor of the layer, in order, whether it is trained as an ordinary weight."""
        return [
            plan.trainable if plan.mode is not None else self.ordinary[plan.local].trainable
            for plan in self.plans
        ]

    def build(self, generated_shape):
        total = sum(plan.size for plan in self.generated)
        if self.has_base:
            trained = not self.freeze_base and all(plan.trainable for plan in self.generated)
            self.base = self.add_weight(
                (total,), initializer="zeros", trainable=trained, name="base"
            )
        if self.initial_gates:
            self.gates = self.add_weight(
                (len(self.generated),),
                initializer=lambda _, dtype: ops.convert_to_tensor(self.initial_gates, dtype),
                name="gates",
            )
        for plan in self.plans:
            if plan.mode is None:
                self.ordinary[plan.local] = self.add_weight(
                    plan.shape,
                    initializer="zeros",
                    trainable=plan.trainable,
                    regularizer=self.regularizers[plan.local],
                    constraint=keras.constraints.get(plan.constraint),
                    name=plan.local.replace("/", "_"),
                )

    def add_gates(self, changes):
        """Adds gates before it is built, from `{path: change at the start (rows, *shape)}`.

        A change that is zero needs no gate to start so, and would never move behind a closed one.
        """
        gates = [float(_is_zero(plan, changes)) for plan in self.generated]
        self.initial_gates = None if all(gates) else gates

    def assign(self, values):
        """Sets the base and the tensors that are not generated, from arrays by path."""
        if self.has_base:
            flat = [np.reshape(values[plan.name], (plan.size,)) for plan in self.generated]
            self.base.assign(np.concatenate(flat))
        for plan in self.plans:
            if plan.mode is None:
                self.ordinary[plan.local].assign(values[plan.name])

    def call(self, generated):
        changes = self._times_gates(generated)
        if self.whole:
            return _plus(changes, self._addend())
        tensors = {}
        for plan, entry in self._entries(changes):
            if plan.mode is not None and plan.regularizer is not None:
                regularizer = self.regularizers[plan.local]
                self.add_loss(mean_over_rows(regularizer, plan.full(entry)))
            tensors[plan.local] = entry
        return {name: tensors[name] for name in sorted(tensors)}

    def tensors(self, generated):
        """`{path: tensor (rows, *shape)}` of what is generated."""
        pairs = self._entries(self._times_gates(generated))
        return {plan.name: plan.full(entry) for plan, entry in pairs if plan.mode is not None}

    def _entries(self, changes):
        """`[(plan, entry of the weights by name)]`."""
        sizes = [size for plan in self.generated for size in plan.part_sizes()]
        pieces = iter(forms.split_layers(changes, sizes))
        addend = self._addend()
        sizes = [plan.size for plan in self.generated]
        addends = itertools.repeat(None) if addend is None else iter(backend.split(addend, sizes))
        for plan in self.plans:
            if plan.mode is None:
                yield plan, ops.expand_dims(self.ordinary[plan.local], 0)
            elif plan.mode == LOW_RANK:
                yield plan, plan.update(next(addends), next(pieces), next(pieces))
            else:
                entry = _plus(next(pieces), next(addends))
                factored = isinstance(entry, dict) and plan.regularizer is None
                yield plan, entry if factored else plan.full(entry)

    def _addend(self):  # (total,), or None where it is zero
        if not self.has_addend:
            return None
        if self.has_base:
            return ops.copy(ops.cast(self.base, self.compute_dtype))
        dtype = self.compute_dtype
        return ops.concatenate([ops.full((p.size,), p.addend, dtype) for p in self.generated])

    def _times_gates(self, generated):
        generated = forms.cast(generated, self.compute_dtype)  # `tensors` is called past autocast
        if not self.initial_gates:
            return generated
        dtype, spread = self.compute_dtype, []
        gates = ops.cast(self.gates, dtype)
        for i, plan in enumerate(self.generated):
            *free, last = plan.part_sizes()  # of a product one factor has the gate
            spread += [ops.ones((size,), dtype) for size in free]
            spread.append(ops.broadcast_to(gates[i], (last,)))
        gates = ops.concatenate(spread)
        if not isinstance(generated, dict):
            return generated * gates
        return {n: generated[n] if n == "features" else generated[n] * gates for n in FACTORS}

    def compute_output_shape(self, generated_shape):
        if self.whole:
            return generated_shape
        rows = forms.row_count(generated_shape)
        factored = forms.is_factored(generated_shape)
        shapes = {}
        for plan in self.plans:
            if plan.mode is None:
                shape = (1, *plan.shape)
            elif plan.mode == LOW_RANK:
                down, up = (rows, *plan.down), (rows, *plan.up)
                shape = {"base": plan.shape, "down": down, "up": up}
            elif factored and plan.regularizer is None:
                shape = forms.factored_shapes(*generated_shape["features"], plan.size)
            else:
                shape = (rows, *plan.shape)
            shapes[plan.local] = shape
        return {name: shapes[name] for name in sorted(shapes)}

    def get_config(self):
        return {
            **super().get_config(),
            "plans": [plan.get_config() for plan in self.plans],
            "gates": self.initial_gates,
            "freeze_base": self.freeze_base,
        }

    @classmethod
    def from_config(cls, config):
        if "gated" in config:  # of an older file
            gated = config.pop("gated")
            number = sum(plan["mode"] is not None for plan in config["plans"])
            config["gates"] = [0.0] * number if gated else None
        return cls(**config)


def _is_zero(plan, changes):
    """Whether a tensor's change is zero because one thing that it is made of is."""
    zero = [not np.any(changes[part.name]) for part in plan.parts()]
    if len(zero) > 1 and all(zero):
        raise ValueError(
            f"`generator` starts both factors of the update of {plan.name} at zero, from where no "
            f"gradient leads away: let `{plan.name}.down` start otherwise."
        )
    return any(zero)


def _plus(weights, addend):
    """Flat or factored weights `+ addend (total,)`, if there is any."""
    if addend is None:
        return weights
    if isinstance(weights, dict):
        return {**weights, "offset": weights["offset"] + addend}
    return weights + addend
