"""`LayerWeights`: all weights of a layer, of which some are generated from nothing."""

import keras
from keras import ops

from keras_hypernet.layers.named_weights import mean_over_rows
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.trainable_flags import CompositeLayer
from keras_hypernet.weights import forms


@keras.saving.register_keras_serializable(package="keras_hypernet")
class LayerWeights(PlannedWeights, CompositeLayer):
    """The weights of one target layer: generated ones, and variables for the others.

    A generated tensor is what is generated, or for a scale `1 +` it. The other tensors are ordinary
    variables.

    Args:
        plans: List of `TensorPlan`, or their configs, one per tensor of the layer, in order.
        variables: `{local name: variable}` of the tensors that are not generated, to be used as
            they are; `None` makes new ones.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        generated: What the generator makes for this layer, `generated_spec`: flat or factored.

    Returns:
        Weights as a hyper layer takes them: in the form of `generated` where all tensors are
        generated and none has a regularizer, else tensor by tensor.
    """

    def __init__(self, plans, variables=None, **kwargs):
        super().__init__(**kwargs)
        give_unique_path(self)
        self.set_plans(plans)
        self.ordinary = variables or {}
        self.regularizers = {p.local: keras.regularizers.get(p.regularizer) for p in self.plans}

    @property
    def whole(self):
        """Whether what is generated is used in the form that it comes in."""
        return all(plan.mode is not None and plan.regularizer is None for plan in self.plans)

    @property
    def has_addend(self):
        """Whether something is added to what is generated."""
        return any(plan.addend for plan in self.generated)

    @property
    def changes_nothing(self):
        """Whether its weights are what is generated, and there is nothing more to know of them."""
        trained = all(plan.trainable for plan in self.plans)
        return self.whole and trained and not self.has_addend

    @property
    def trainable_flags(self):
        return [
            plan.trainable if plan.mode is not None else self.ordinary[plan.local].trainable
            for plan in self.plans
        ]

    @property
    def ungenerated(self):
        return list(self.ordinary.values())

    def generated_of(self, call):
        return call.arguments[0]

    def build(self, generated_shape):
        for plan in self.plans:
            if plan.mode is None and plan.local not in self.ordinary:
                self.ordinary[plan.local] = self.add_weight(
                    plan.shape,
                    initializer="zeros",
                    trainable=plan.trainable,
                    regularizer=self.regularizers[plan.local],
                    constraint=keras.constraints.get(plan.constraint),
                    name=plan.local.replace("/", "_"),
                )

    def assign(self, values):
        """Sets the tensors that are not generated, from arrays by local name."""
        for name, variable in self.ordinary.items():
            variable.assign(values[name])

    def call(self, generated):
        if self.whole:
            return forms.plus(generated, self._addend()) if self.has_addend else generated
        tensors = {}
        for plan, entry in self._entries(generated):
            if plan.regularizer is not None:
                regularizer = self.regularizers[plan.local]
                self.add_loss(mean_over_rows(regularizer, plan.full(entry)))
            tensors[plan.local] = entry
        for plan in self.plans:
            if plan.mode is None:
                tensors[plan.local] = ops.expand_dims(self.ordinary[plan.local], 0)
        return {name: tensors[name] for name in sorted(tensors)}

    def tensors(self, generated):
        return {plan.name: plan.full(entry) for plan, entry in self._entries(generated)}

    def _entries(self, generated):
        """`[(plan, entry of the weights by name)]` of what is generated."""
        generated = forms.cast(generated, self.compute_dtype)  # `tensors` is called past autocast
        for plan, (entry,) in self.pieces(generated):
            if plan.addend:
                entry = forms.plus(entry, plan.addend)
            factored = isinstance(entry, dict) and plan.regularizer is None
            yield plan, entry if factored else plan.full(entry)

    def _addend(self):  # (total,)
        dtype = self.compute_dtype
        return ops.concatenate([ops.full((p.size,), p.addend, dtype) for p in self.generated])

    def compute_output_shape(self, generated_shape):
        if self.whole:
            return generated_shape
        rows = forms.row_count(generated_shape)
        shapes = {}
        for plan in self.plans:
            if plan.mode is None:
                shape = (1, *plan.shape)
            elif forms.is_factored(generated_shape) and plan.regularizer is None:
                shape = forms.factored_shapes(*generated_shape["features"], plan.size)
            else:
                shape = (rows, *plan.shape)
            shapes[plan.local] = shape
        return {name: shapes[name] for name in sorted(shapes)}

    def get_config(self):
        return {**super().get_config(), "plans": [plan.get_config() for plan in self.plans]}
