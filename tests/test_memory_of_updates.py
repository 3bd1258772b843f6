"""Updates of low rank for many rows: no kernel is built for each row, by the compiler's account."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from tests.backend import BACKEND
from tests.conformance_blocks import PreNorm

ROWS, WIDTH, LENGTH, SIZE = 64, 128, 2, 3

MODELS = {  # {name: (layer, shape of its data, numbers of the kernels that are updated)}
    "dense": (lambda: layers.Dense(WIDTH), (WIDTH,), WIDTH**2),
    "einsum": (
        lambda: layers.EinsumDense("btd,dhk->bthk", (None, 4, WIDTH // 4)),
        (LENGTH, WIDTH),
        WIDTH**2,
    ),
    "conv": (lambda: layers.Conv2D(WIDTH, 3, padding="same"), (2, 2, WIDTH), 9 * WIDTH**2),
    "block": (lambda: PreNorm(name="block"), (LENGTH, WIDTH), 8 * WIDTH**2),
}


def temporary(layer, shape, **options):
    """Bytes that a compiled train step takes for a time."""
    import jax

    x = inputs = keras.Input(shape)
    model = keras.Model(inputs, layer()(x))
    model = kh.hypernetize(model, SIZE, freeze="all", select="*kernel", **options)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    data = np.ones((ROWS, SIZE), "float32"), np.ones((ROWS, *shape), "float32")

    def step(trained, others, state, data):
        loss = lambda v: (model.stateless_call(v, others, list(data))[0] ** 2).mean()  # noqa: E731
        value, gradients = jax.value_and_grad(loss)(trained)
        return value, optimizer.stateless_apply(state, gradients, trained)

    variables = model.trainable_variables, model.non_trainable_variables, optimizer.variables
    arguments = [[v.value for v in found] for found in variables]
    compiled = jax.jit(step, donate_argnums=(0, 2)).lower(*arguments, data).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.skipif(BACKEND != "jax", reason="JAX says what a compiled function takes")
@pytest.mark.parametrize(
    "name", [n if n == "dense" else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_nothing_of_the_size_of_rows_times_kernel_is_built(name):
    layer, shape, numbers = MODELS[name]
    every_row = 4 * ROWS * numbers
    low_rank = temporary(layer, shape, mode="low_rank", rank=2, hidden_sizes=(2,))
    # A flat change is one of the kernel itself, so that the measure would see it.
    flat = {"generator": lambda spec: kh.WeightGenerator(spec, hidden_sizes=(2,))}
    multiplied_out = temporary(layer, shape, mode="delta", **flat)
    assert low_rank < every_row / 8, f"{low_rank / every_row:.2f} of rows x kernel"
    assert multiplied_out > every_row, f"{multiplied_out / every_row:.2f} of rows x kernel"
