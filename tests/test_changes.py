"""Layers with generated changes are plain layers with merged weights, assigned row by row."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from keras_hypernet.layers.changed_layer import ChangedLayer
from tests.conformance import Run, Trial, assert_close, draw_seeds, values_of
from tests.conformance_blocks import ROWS as BLOCKS
from tests.conformance_conv import ROWS as CONV
from tests.conformance_core import ROWS as CORE

ALPHA = 3.0
# (mode and what is generated, rows of weights, whether shared, whether the layer is copied)
CASES = [
    (("delta", None), 4, False, True),
    (("low_rank", "both"), 4, False, False),
    (("low_rank", "up"), 2, False, True),
    (("low_rank", "scale"), 4, False, False),
    (("delta", None), 2, False, False),
    (("low_rank", "both"), 2, False, True),
    (("low_rank", "scale"), 1, True, True),
    (("low_rank", "both"), 1, True, False),
    (("delta", None), 1, True, False),
    (("low_rank", "up"), 1, True, True),
]
TAKEN = {
    row.id: row
    for row in [*CORE, *CONV, *BLOCKS]
    if row.id
    in (
        "dense",
        "dense inner axes",
        "embedding",
        "einsum abc,cde->aedb bias d (3, 4)",
        "einsum ...x,xy->...y bias y (2, 3, 4)",
        "einsum abc,bcd->abd bias bd (3, 4)",
        "attention self",
        "Conv1D causal dilated",
        "Conv2D activity",
        "Conv2D dilated first",
        "Conv3D",
        "Conv1DTranspose",
        "Conv2DTranspose first",
        "pre-norm block",
        "squeeze and excite",
        "shared leaf",
        "block in a block",
        "windows",
        "two inputs",
        "time distributed",
    )
}


def pairs():
    """Every row with one or two of the cases; the others are slow."""
    for (i, name), (j, case) in itertools.product(enumerate(TAKEN), enumerate(CASES)):
        quick = (i + j) % 7 == 0
        words = [*filter(None, case[0]), f"{case[1]}", *["copy"] * case[3]]
        marks = [] if quick else [pytest.mark.slow]
        yield pytest.param(name, case, id=f"{name}-{'-'.join(words)}", marks=marks)


class Changed:
    """A row of the table as a `ChangedLayer` in a model, with the weights that it means."""

    def __init__(self, row, case, rng):
        (mode, generate), rows, shared, copy = case
        self.trial = trial = Trial(row, rows, rng)
        for variable in trial.variables:
            variable.assign(0.5 * rng.normal(size=variable.shape))
        named = {n: keras.Input(x.shape[1:], dtype=str(x.dtype)) for n, x in trial.arrays.items()}
        inputs = [keras.Input(x.shape[1:], dtype=str(x.dtype)) for x in trial.inputs]
        y = trial.twin(*inputs, **trial.call, **named)
        self.model = keras.Model([*inputs, *named.values()], y)
        update = {"rank": None, "generate": generate, "alpha": ALPHA} if generate else {}
        self.hyper = kh.hypernetize(
            self.model,
            2,
            mode=mode,
            select=lambda variable: variable.name in ("kernel", "embeddings"),
            freeze="base",
            shared=shared,
            copy=copy,
            **update,
        )
        found = [x for x in self.hyper.layers if isinstance(x, ChangedLayer)]
        (self.layer,) = found
        spec = self.layer.generated_spec
        self.weights = 0.5 * rng.normal(size=(rows, spec.total)).astype("float32")

    def __call__(self, inputs, weights, arrays):
        """The changed layer as a function, with the state that its layer has."""
        layer = self.layer
        values = [
            values_of(variables)
            for variables in (layer.trainable_variables, layer.non_trainable_variables)
        ]
        call = {**self.trial.call, **arrays}
        y, after = layer.stateless_call(*values, inputs[0], weights, *inputs[1:], **call)
        after = dict(zip((v.path for v in layer.non_trainable_variables), after))
        return y, [after[p] for p in after if p.rpartition("/")[2].startswith("moving_")]

    def merged(self, weights):
        """Flat weights of the plain layer `(rows, total)`, in NumPy, from what is generated."""
        made = dict(zip(self.layer.generated_spec.names, self._pieces(weights)))
        plans = {plan.name: plan for plan in self.layer.generated}
        tensors = []
        for variable in self.trial.variables:
            base = ops.convert_to_numpy(variable).astype("float64")[None]
            plan = plans.get(variable.path)
            if plan is None:
                tensors.append(np.repeat(base, len(weights), 0))
            elif plan.mode == "delta":
                tensors.append(base + made[plan.name])
            else:
                tensors.append(base + self._product(plan, made, len(weights)))
        return np.concatenate([t.reshape(len(weights), -1) for t in tensors], axis=1)

    def _pieces(self, weights):
        start = 0
        for tensor in self.layer.generated_spec:
            yield weights[:, start : start + tensor.size].reshape(-1, *tensor.shape)
            start += tensor.size

    def _product(self, plan, made, rows):
        own = {n: ops.convert_to_numpy(v) for n, v in self.layer.factors[plan.local].items()}
        factors = {n: made.get(f"{plan.name}.{n}") for n in ("down", "scale", "up")}
        found = []
        for i in range(rows):
            down, scale, up = (
                own.get(n, 1.0) if f is None else f[i].astype("float64") for n, f in factors.items()
            )
            found.append(self.trial.row.multiply(plan.local, down * scale, up))
        return ALPHA / plan.down[-1] * np.stack(found)


@pytest.mark.parametrize(("name", "case"), list(pairs()))
def test_values_and_gradients(name, case, rng):
    changed = Changed(TAKEN[name], case, rng)
    trial, weights, seeds = changed.trial, changed.weights, draw_seeds(rng)
    merged = changed.merged(weights)
    expected, of_reference = trial.reference(merged.astype("float32"), seeds)
    found, gradients = Run(changed)(trial.inputs, weights, trial.arrays, seeds)
    assert_close(found[0], expected[0], 1e-5)
    assert_close(gradients[:-1], of_reference[:-1], 1e-4)
    # What is merged is linear in each entry of what is generated.
    chained = np.zeros_like(weights, dtype="float64")
    for j in range(weights.shape[1]):
        other = weights.astype("float64")
        other[:, j] += 1.0
        chained[:, j] = ((changed.merged(other) - merged) * of_reference[-1]).sum(1)
    assert_close(gradients[-1].astype("float64"), chained, 1e-4)
