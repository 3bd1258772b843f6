"""`PlannedWeights`: what is generated for one layer, tensor by tensor, as plans say."""

from keras_hypernet.layers.tensor_plan import TensorPlan
from keras_hypernet.weights import forms
from keras_hypernet.weights.spec import WeightSpec


class PlannedWeights:
    """The base of layers that make weights of a target layer of what a generator makes.

    `plans` are the `TensorPlan`s of the tensors of the target layer, `generated` of those that a
    generator makes something for, `generated_spec` is the `WeightSpec` of that. A subclass says in
    `tensors` what the weights are.
    """

    def set_plans(self, plans):
        self.plans = tuple(TensorPlan.of(plan) for plan in plans)
        self.generated = tuple(plan for plan in self.plans if plan.mode is not None)
        parts = [plan.parts() for plan in self.generated]  # once: every call needs their sizes
        self.generated_spec = WeightSpec([part for own in parts for part in own])
        self.part_sizes = tuple(tuple(part.size for part in own) for own in parts)

    @property
    def target_spec(self):
        """The `WeightSpec` of the tensors that it is generated for."""
        return WeightSpec([plan.tensor for plan in self.generated])

    def pieces(self, generated):
        """`[(plan, its parts of what is generated)]`, flat or factored as that is."""
        pieces = iter(forms.split_layers(generated, self.generated_spec.sizes))
        return [
            (plan, [next(pieces) for _ in sizes])
            for plan, sizes in zip(self.generated, self.part_sizes)
        ]

    def generated_of(self, call):
        """What was generated, among the arguments of a call of this layer."""
        raise NotImplementedError

    def tensors(self, generated):
        """`{path: tensor (rows, *shape)}` of the weights that it is generated for."""
        raise NotImplementedError

    @property
    def trainable_flags(self):
        """For each parameter of the target layer, in order, whether a plain layer trains it."""
        raise NotImplementedError

    @property
    def ungenerated(self):
        """The variables of the target layer that stand beside generated weights."""
        raise NotImplementedError
