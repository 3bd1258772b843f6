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


def mlp(values, z, activation=relu, scale=None):
    """The plain perceptron of a generator: kernels and biases in turn, the last pair linear."""
    *_, kernel, bias = values
    return features_of(values, z, activation, scale) @ kernel + bias


def features_of(values, z, activation=relu, scale=None):
    """Hidden activations of `mlp` that its last pair mixes."""
    for kernel, bias in zip(values[:-2:2], values[1:-2:2], strict=True):
        z = activation(z @ kernel + bias)
    return scaled(z, scale) if len(values) > 2 else z


def scaled(features, scale=None):
    """What the last hidden layer puts out."""
    return features * (1 / np.sqrt(features.shape[-1]) if scale is None else scale)


def side_by_side(*parts):
    """Rows of several inputs, `None` left out, a single row for all."""
    parts = [part for part in parts if part is not None]
    rows = max(len(part) for part in parts)
    return np.concatenate([np.broadcast_to(p, (rows, p.shape[1])) for p in parts], axis=1)


def chunks(values, embeddings, noise=None, condition=None, make=mlp):
    """Chunk after chunk, `(rows, chunks, size)`; embeddings `(rows or 1, chunks, e)`."""
    made = [
        make(values, side_by_side(noise, embeddings[:, j], condition))
        for j in range(embeddings.shape[1])
    ]
    return np.stack(made, axis=1)


def output_first(row, shapes):
    """One flat vector whose kernels stand there with their output axis first -> row-major."""
    tensors, start = [], 0
    for shape in shapes:
        piece = row[start : start + np.prod(shape)]
        if len(shape) > 1:
            piece = np.moveaxis(piece.reshape(shape[-1], *shape[:-1]), 0, -1)
        tensors.append(piece.reshape(-1))
        start += np.prod(shape)
    return np.concatenate(tensors)


def transposed_conv(x, kernel, strides, crops, size):
    """Pixel by pixel: each one adds its kernel to what lies around its place."""
    lengths = [(n - 1) * s + k for n, s, k in zip(x.shape[1:3], strides, kernel.shape)]
    y = np.zeros((len(x), *lengths, kernel.shape[2]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            left, top = i * strides[0], j * strides[1]
            y[:, left : left + kernel.shape[0], top : top + kernel.shape[1]] += np.einsum(
                "bc,klfc->bklf", x[:, i, j], kernel
            )
    (left, _), (top, _) = crops
    return y[:, left : left + size[0], top : top + size[1]]


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
