"""The mathematics once more, in NumPy, sample by sample: what the package is compared with."""

import numpy as np


def relu(x):
    return np.maximum(x, 0)


def identity(x):
    return x


def flat_weights(weights):
    """Flat or factored -> flat, row by row."""
    if not isinstance(weights, dict):
        return weights
    rows = []
    for features in weights["features"]:
        row = weights["offset"].copy()
        for feature, basis in zip(features, weights["basis"], strict=True):
            row = row + feature * basis
        rows.append(row)
    return np.stack(rows) if rows else np.zeros((0, len(weights["offset"])))


def dense_rows(x, weights, units, use_bias=True, activation=identity):
    """A dense layer on each data row, with its row of the weights."""
    weights = flat_weights(weights)
    group, inputs, y = len(x) // len(weights), x.shape[-1], []
    for b, sample in enumerate(x):
        row = weights[b // group]
        kernel = row[: inputs * units].reshape(inputs, units)
        bias = row[inputs * units :] if use_bias else 0
        y.append(activation(np.tensordot(sample, kernel, 1) + bias))
    return np.stack(y)


def mlp_rows(x, weights, sizes, activation=relu):
    """Dense layers one after another, none activated last."""
    for i, (_, units) in enumerate(sizes):
        last = i == len(sizes) - 1
        x = dense_rows(x, weights[i], units, activation=identity if last else activation)
    return x


def mlp(values, z, activation=relu):
    """The plain perceptron of a generator: kernels and biases in turn, the last pair linear."""
    *hidden, (kernel, bias) = zip(values[::2], values[1::2], strict=True)
    for hidden_kernel, hidden_bias in hidden:
        z = activation(z @ hidden_kernel + hidden_bias)
    return z @ kernel + bias


def features_of(values, z, activation=relu):
    """Hidden activations of `mlp` that its last pair mixes."""
    for kernel, bias in zip(values[:-2:2], values[1:-2:2], strict=True):
        z = activation(z @ kernel + bias)
    return z


def spectral_kernel(kernel):
    """The kernel divided by its largest singular value, exactly."""
    return kernel / np.linalg.svd(kernel)[1][0]


def cast(tree, dtype=np.float64):
    """Arrays in a nest, floating ones cast."""
    if isinstance(tree, dict):
        return {k: cast(v, dtype) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [cast(v, dtype) for v in tree]
    tree = np.asarray(tree)
    return tree.astype(dtype) if tree.dtype.kind == "f" else tree
