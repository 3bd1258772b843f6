"""`ChangedLayer`: a Keras layer with its own weights, and generated changes of them."""

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.hyper import Hyper
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.layers.tensor_plan import LOW_RANK
from keras_hypernet.utils.copying import copy_built
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.weights import forms


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ChangedLayer(PlannedWeights, Hyper):
    """Runs a layer on its own weights plus what is generated.

    `W[b] = W + change[b]`, or `W + factor * down[b] @ up[b]`, which is never multiplied out. `W` is
    the layer's own variable: it is trained unless it is frozen, and saved as ever.

    Args:
        layer: A built Keras layer. It is copied with its values, or with `copy=False` used itself.
        plans: List of `TensorPlan`, or their configs, of the tensors that are changed.
        gates: `None`, or for each of them where a trained number starts that its change is
            multiplied by: at 0 the layer is what any generator starts from.
        **kwargs: Those of `Hyper`.

    Call arguments:
        x, *args, **kwargs: What the layer takes.
        weights: What the generator makes, `generated_spec`: flat or factored.

    Raises:
        ValueError: as `Hyper` does.
    """

    def __init__(self, layer, plans, gates=None, **kwargs):
        self.set_plans(plans)
        self.initial_gates = gates
        # A frozen layer is changed by what is trained here.
        super().__init__(layer, **{"trainable": True, **kwargs})
        give_unique_path(self)
        self.gates, self.factors = None, {}

    # The layer is in sight: its weights are this layer's, and saved by itself.

    @staticmethod
    def copied(layer):
        with keras.RematScope(mode=None):  # it is for the layer around the copy
            return copy_built(layer, own_path=True)

    @staticmethod
    def build_layer(layer, build):
        build()

    def hold(self, layer):
        self.layer = layer

    def hold_state(self):
        pass

    def wrapped_layer(self):
        return self.layer

    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def save_assets(self, folder):
        pass

    def load_assets(self, folder):
        pass

    def plain_layer(self):
        layer = copy_built(self.layer)
        layer.name = self.name
        return layer

    # What there is to generate.

    def check_inside(self, inside):
        known = inside.updatable.keys() | inside.by_name.keys()
        missing = [plan.name for plan in self.generated if plan.local not in known]
        if missing:
            raise ValueError(
                f"The layer {self.name!r}, made anew from its config, lacks what is changed: "
                f"{missing}"
            )

    def tensors_to_generate(self):
        return list(self.generated_spec)

    def inside(self):
        inside = super().inside()
        if not inside.is_present():  # the layer was quantized since then
            shapes = self.orders().built_shapes
            self._read()
            inside = super().inside()
            if shapes is not None:
                self.orders().build(*shapes)
        return inside

    def generated_of(self, call):
        return call.weights

    @property
    def changed(self):
        """The parameters that are changed, in the order of the plans."""
        inside = self.inside()
        return [inside.updatable.get(p.local) or inside.by_name[p.local] for p in self.generated]

    @property
    def trainable_flags(self):
        flags = {plan.local: plan.trainable for plan in self.generated}
        return [flags.get(p.name, p.variable.trainable) for p in self.inside().parameters]

    @property
    def ungenerated(self):
        changed = {id(p.variable) for p in self.changed}
        return [v for v in self.layer.variables if id(v) not in changed]

    def add_gates(self, changes):
        """Adds gates before it is built, from `{path: change at the start (rows, *shape)}`.

        A change that is zero needs no gate to start so, and would never move behind a closed one.
        """
        gates = [float(plan.is_zero(changes)) for plan in self.generated]
        self.initial_gates = None if all(gates) else gates

    def freeze(self, everything):
        """Holds what is changed, or the whole layer."""
        if everything:
            self.layer.trainable = False
        for p in self.changed:
            p.variable.trainable = False

    def penalties(self, inside):
        """Regularizers of what is changed: those of other tensors are their variables'.

        They are of the changed tensor alone, and no longer of a variable that is trained.
        """
        found = {}
        for plan in self.generated:
            # Keras, too, has no penalty of a quantized kernel.
            if plan.regularizer is None or plan.local not in inside.by_name:
                continue
            found[plan.local] = keras.regularizers.get(plan.regularizer)
            if self._is_own:
                inside.by_name[plan.local].variable.regularizer = None
        return found

    def build(self, x_shape, weights_shape, *others, **named):
        super().build(x_shape, weights_shape, *others, **named)
        if self.initial_gates:
            self.gates = self.add_weight(
                (len(self.generated),),
                initializer=lambda _, dtype: ops.convert_to_tensor(self.initial_gates, dtype),
                name="gates",
            )
        for plan in self.generated:
            self.factors[plan.local] = {
                name: self.add_weight(
                    factor.shape,
                    initializer=keras.initializers.RandomNormal(stddev=factor.fan_in**-0.5),
                    name=f"{plan.local.replace('/', '_')}_{name}",
                )
                for name, factor in plan.trained_factors().items()
            }

    # Running.

    def check_weights(self, weights):
        forms.check_weights(weights)
        forms.check_shapes(forms.shapes_of(weights), self.generated_spec.total)

    def check_forms(self, weights_shape):
        pass  # `entry_shapes` made them

    @property
    def _whole(self):
        """Whether all is changed and the rule takes it in one."""
        leaf, plans = self.inside().itself, self.generated
        every = [p.local for p in plans] == self.tensor_names
        deltas = all(p.mode != LOW_RANK and p.regularizer is None for p in plans)
        return bool(leaf and leaf.rule.takes_whole and every and deltas)

    def entries(self, weights):
        changes = self._times_gates(weights)
        if self._whole:
            bases = [ops.reshape(self._base(p), (-1,)) for p in self.changed]
            return forms.plus(changes, ops.concatenate(bases))
        return {plan.local: entry for plan, entry in self._entries(changes)}

    def entry_shapes(self, weights_shape):
        if self._whole:
            return weights_shape
        rows, shapes = forms.row_count(weights_shape), {}
        for plan, p in zip(self.generated, self.changed):
            if plan.mode == LOW_RANK:
                shapes[plan.local] = plan.update_shapes(rows)
            elif p.is_adapted:
                shapes[plan.local] = {"base": plan.shape, "change": (rows, *plan.shape)}
            elif forms.is_factored(weights_shape):
                features = weights_shape["features"][1]
                shapes[plan.local] = forms.factored_shapes(rows, features, plan.size)
            else:
                shapes[plan.local] = (rows, *plan.shape)
        return shapes

    def tensors(self, generated):
        pairs = self._entries(self._times_gates(generated))
        return {
            plan.name: self._multiplied(plan.local, entry)
            if named_weights.is_update(entry)
            else plan.full(entry)
            for plan, entry in pairs
        }

    def changes(self, generated):
        """`{path: what is added to the layer's tensor}`: `(rows, *shape)`, or an update's factors.

        Gates, and the numbers that updates are multiplied by, are in it.
        """
        found = {}
        for plan, pieces in self.pieces(self._times_gates(generated)):
            if plan.mode == LOW_RANK:
                update = plan.update(None, pieces, self._trained(plan))
                found[plan.name] = {name: x for name, x in update.items() if name != "base"}
            else:
                found[plan.name] = plan.full(pieces[0])
        return found

    def tensors_by_name(self, weights):
        """The weights that are changed, and the layer's own ones."""
        changed = super().tensors_by_name(self.entries(weights))
        every = {f"{self.name}/{p.name}": p for p in self.inside().parameters}
        return {name: changed[name] if name in changed else p.own() for name, p in every.items()}

    def _entries(self, changes):
        """`[(plan, entry of the weights by name)]`."""
        for (plan, pieces), p in zip(self.pieces(changes), self.changed):
            base = p.leaf.base() if p.is_adapted else self._base(p)
            if plan.mode == LOW_RANK:
                yield plan, plan.update(base, pieces, self._trained(plan))
            elif p.is_adapted:
                yield plan, {"base": base, "change": plan.full(pieces[0])}
            else:
                entry = forms.plus(pieces[0], ops.reshape(base, (-1,)))
                yield plan, entry if isinstance(entry, dict) else plan.full(entry)

    def _trained(self, plan):
        return {n: ops.cast(v, self.compute_dtype) for n, v in self.factors[plan.local].items()}

    def _base(self, p):
        return ops.cast(p.variable, self.compute_dtype)

    def _times_gates(self, generated):
        generated = forms.cast(generated, self.compute_dtype)  # `tensors` is called past autocast
        if not self.initial_gates:
            return generated
        dtype, spread = self.compute_dtype, []
        gates = ops.cast(self.gates, dtype)
        for i, (*free, last) in enumerate(self.part_sizes):  # of a product one has the gate
            spread += [ops.ones((size,), dtype) for size in free]
            spread.append(ops.broadcast_to(gates[i], (last,)))
        gates = ops.concatenate(spread)
        if not isinstance(generated, dict):
            return generated * gates
        return {n: x if n == "features" else x * gates for n, x in generated.items()}

    def get_config(self):
        return {
            **super().get_config(),
            "plans": [plan.get_config() for plan in self.plans],
            "gates": self.initial_gates,
        }
