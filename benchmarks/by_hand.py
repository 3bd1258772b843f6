"""The same hypernetworks as an expert writes them with a backend's own tools: `vmap`."""

import itertools

import keras
import numpy as np

BACKEND = keras.backend.backend()


def parameters(load, rng):
    """`[[(kernel, bias) of hidden layers and head] per target layer]`, and a task table."""
    generators = []
    for size_in, size_out in load.layers:
        widths = [load.conditioning, *load.hidden, size_in * size_out + size_out]
        generators.append(
            [
                [(rng.normal(size=(i, o)) / np.sqrt(i)).astype("float32"), np.zeros(o, "float32")]
                for i, o in itertools.pairwise(widths)
            ]
        )
        generators[-1][-1][0] *= 0.01
    table = rng.normal(size=(load.tasks or 1, load.conditioning)).astype("float32")
    return {"generators": generators, "table": table}


def steps(load, conditioning, x, y, compiled):
    """`(train step, forward)` as functions that wait for their result, and temporary MB."""
    make = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[BACKEND]
    return make(load, conditioning, x, y, compiled)


def jax_steps(apply, update, trainable, state, optimizer_state, y):
    """Jitted steps of a function of variables, the old ones donated as Keras does."""
    import jax
    import jax.numpy as jnp

    def train(trainable, state, optimizer_state):
        loss = lambda v: jnp.mean((apply((v, state)) - y) ** 2)  # noqa: E731
        value, gradients = jax.value_and_grad(loss)(trainable)
        return value, *update(trainable, gradients, optimizer_state)

    compiled = jax.jit(train, donate_argnums=(0, 2)).lower(trainable, state, optimizer_state)
    compiled = compiled.compile()
    forward = jax.jit(lambda trainable: apply((trainable, state)))
    kept = [jax.tree.map(jnp.copy, trainable)]
    trained = [jax.tree.map(jnp.copy, (trainable, optimizer_state))]

    def step():
        value, *trained[0] = compiled(trained[0][0], state, trained[0][1])
        return value.block_until_ready()

    megabytes = compiled.memory_analysis().temp_size_in_bytes / 1e6
    return step, lambda: forward(kept[0]).block_until_ready(), megabytes


def jax_adam_start(params):
    """State of `jax_adam`: the step and two moments."""
    import jax
    import jax.numpy as jnp

    return jnp.zeros(()), *(jax.tree.map(jnp.zeros_like, params) for _ in range(2))


def jax_adam(params, gradients, state, rate=1e-3, b1=0.9, b2=0.999):
    """`(params, state)` after a step of Adam as Keras does it."""
    import jax
    import jax.numpy as jnp

    step, m, v = state
    step = step + 1
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, gradients)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, gradients)
    rate = rate * jnp.sqrt(1 - b2**step) / (1 - b1**step)
    params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), params, m, v)
    return params, (step, m, v)


def _jax_network(load):
    import jax

    def target(weights, x):  # one sample, or the points of one condition
        for i, (flat, (size_in, size_out)) in enumerate(zip(weights, load.layers, strict=True)):
            kernel = flat[: size_in * size_out].reshape(size_in, size_out)
            x = x @ kernel + flat[size_in * size_out :]
            x = jax.nn.relu(x) if i < len(load.layers) - 1 else x
        return x

    def apply(params, conditioning, x):
        z = params["table"][conditioning] if load.tasks else conditioning
        weights = []
        for *hidden, (head, head_bias) in params["generators"]:
            h = z
            for kernel, bias in hidden:
                h = jax.nn.relu(h @ kernel + bias)
            weights.append(h @ head + head_bias)
        return jax.vmap(target)(weights, x)

    return apply


def _jax(load, conditioning, x, y, compiled):
    import jax
    import jax.numpy as jnp

    apply = _jax_network(load)
    params = jax.tree.map(jnp.asarray, parameters(load, np.random.default_rng(1)))
    call = lambda variables: apply(variables[0], conditioning, x)  # noqa: E731
    return jax_steps(call, jax_adam, params, None, jax_adam_start(params), y)


def jax_epoch(load, conditioning, x, y):
    """One epoch of a jitted train step over NumPy batches, and the state that it carries."""
    import jax
    import jax.numpy as jnp

    apply = _jax_network(load)
    params = jax.tree.map(jnp.asarray, parameters(load, np.random.default_rng(1)))
    carried = [(params, jax_adam_start(params))]

    def train(params, state, conditioning, x, y):
        loss = lambda p: jnp.mean((apply(p, conditioning, x) - y) ** 2)  # noqa: E731
        value, gradients = jax.value_and_grad(loss)(params)
        return value, jax_adam(params, gradients, state)

    train = jax.jit(train, donate_argnums=(0, 1))

    def epoch():
        total = 0.0
        for i in range(0, len(x), load.rows):
            rows = slice(i, i + load.rows)
            loss, carried[0] = train(*carried[0], conditioning[rows], x[rows], y[rows])
            total = total + loss
        return float(total)

    return epoch


def _torch(load, conditioning, x, y, compiled):
    import torch
    from torch.func import functional_call, vmap

    params = parameters(load, np.random.default_rng(1))
    tensors = keras.tree.map_structure(lambda a: torch.from_numpy(a).requires_grad_(), params)
    modules = []
    for i, pair in enumerate(load.layers):
        modules += [torch.nn.Linear(*pair), torch.nn.ReLU()][: 2 - (i == len(load.layers) - 1)]
    target = torch.nn.Sequential(*modules)
    optimizer = torch.optim.Adam(keras.tree.flatten(tensors), 1e-3)
    conditioning, x, y = map(torch.from_numpy, (conditioning, x, y))

    def network():
        z = tensors["table"][conditioning.long()] if load.tasks else conditioning
        weights = {}
        for i, (pair, generator) in enumerate(zip(load.layers, tensors["generators"], strict=True)):
            *hidden, (head, head_bias) = generator
            h = z
            for kernel, bias in hidden:
                h = torch.relu(h @ kernel + bias)
            flat, size = h @ head + head_bias, pair[0] * pair[1]
            weights[f"{2 * i}.weight"] = flat[:, :size].reshape(-1, *pair).transpose(1, 2)
            weights[f"{2 * i}.bias"] = flat[:, size:]
        return vmap(lambda w, row: functional_call(target, w, (row,)))(weights, x)

    def train():
        optimizer.zero_grad()
        loss = ((network() - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    def forward():
        with torch.no_grad():
            return network()

    return train, forward, None


def _tensorflow(load, conditioning, x, y, compiled):
    import tensorflow as tf

    params = parameters(load, np.random.default_rng(1))
    variables = keras.tree.map_structure(tf.Variable, params)
    flat_variables = keras.tree.flatten(variables)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(flat_variables)

    def target(arguments):
        weights, row = arguments
        points = len(row.shape) > 1
        for i, (flat, (size_in, size_out)) in enumerate(zip(weights, load.layers, strict=True)):
            kernel = tf.reshape(flat[: size_in * size_out], (size_in, size_out))
            row = row @ kernel if points else tf.linalg.matvec(kernel, row, transpose_a=True)
            row = row + flat[size_in * size_out :]
            row = tf.nn.relu(row) if i < len(load.layers) - 1 else row
        return row

    def network():
        z = tf.gather(variables["table"], conditioning) if load.tasks else conditioning
        weights = []
        for *hidden, (head, head_bias) in variables["generators"]:
            h = z
            for kernel, bias in hidden:
                h = tf.nn.relu(h @ kernel + bias)
            weights.append(h @ head + head_bias)
        return tf.vectorized_map(target, (weights, tf.constant(x)))

    @tf.function(jit_compile=compiled)
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network() - y) ** 2)
        gradients = tape.gradient(loss, flat_variables, unconnected_gradients="zero")
        optimizer.apply([tf.convert_to_tensor(g) for g in gradients], flat_variables)
        return loss

    forward = tf.function(network, jit_compile=compiled)
    return lambda: train().numpy(), lambda: forward().numpy(), None
