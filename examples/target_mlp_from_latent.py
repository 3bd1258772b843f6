"""A latent vector becomes the four tensors of a small network: the classic exercise.

    z -> generator -> flat vector -> (w1, b1, w2, b2) -> target network(x)

Every latent vector `z = (z0, z1)` stands for one function `sin(a x + b)` of a family, with
`a = 4 + 2 z0` and `b = pi z1`. The generator learns to turn `z` into a network that computes it.
The error of the target's output is propagated back through the generated weights into the
generator, which has the only variables there are. Two steps of plain gradient descent show that
each of them receives a gradient: the target starts as the same network for every `z`, so that the
head of the generator moves in the first step, and the hidden layers from the second on.

    KERAS_BACKEND=tensorflow python examples/target_mlp_from_latent.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HIDDEN = 32
SPEC = kh.WeightSpec.from_shapes(
    {
        "hidden/kernel": (1, HIDDEN),
        "hidden/bias": (HIDDEN,),
        "output/kernel": (HIDDEN, 1),
        "output/bias": (1,),
    }
)


def family(z, x):
    """The function of each row of `z` `(rows, 2)` at its points `x` `(rows, points, 1)`."""
    a, b = 4 + 2 * z[:, 0], np.pi * z[:, 1]
    return np.sin(a[:, None, None] * x + b[:, None, None]).astype("float32")


def sample(rows, points, seed):
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, (rows, 2)).astype("float32")
    x = rng.uniform(-1, 1, (rows, points, 1)).astype("float32")
    return [z, x], family(z, x)


def build():
    z = keras.Input((2,), name="z")
    x = keras.Input((None, 1), name="x")
    generator = kh.WeightGenerator(SPEC, hidden_sizes=(64, 64), name="generator")
    target = kh.ApplyGeneratedWeights([(1, HIDDEN), (HIDDEN, 1)], activation="tanh", name="target")
    return keras.Model([z, x], target(x, generator(z)))


def show_weights(model, z, x):
    """Cuts the flat vectors by the spec, and applies the tensors by hand as a check."""
    flat = keras.ops.convert_to_numpy(model.get_layer("generator")(z))
    tensors = kh.split_weights(flat, SPEC)
    print(f"\n{len(z)} latent vectors -> flat weights {flat.shape} ->")
    for name, shape in zip(SPEC.names, SPEC.shapes):
        if tuple(tensors[name].shape) != (len(z), *shape):
            raise SystemExit(f"{name} has shape {tensors[name].shape}, the spec says {shape}")
        print(f"  {name:14} {tuple(tensors[name].shape)}")
    w1, b1, w2, b2 = (keras.ops.convert_to_numpy(tensor) for tensor in tensors.values())
    by_hand = np.tanh(x @ w1 + b1[:, None]) @ w2 + b2[:, None]
    difference = np.abs(by_hand - model.predict([z, x], verbose=0)).max()
    print(f"applied by hand, they differ from the model by at most {difference:.1e}")


def show_gradients(model, inputs, y):
    """Norm of every variable's gradient: how far one step of SGD moves it, by the step size."""
    step_size = 0.1
    model.compile(keras.optimizers.SGD(step_size), loss="mse")
    values = [[keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]]
    for _ in range(2):
        model.train_on_batch(inputs, y)
        values.append([keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables])
    print("\ngradient norms in the first step and the second one:")
    for variable, *steps in zip(model.trainable_variables, *values):
        norms = [np.linalg.norm(moved) / step_size for moved in np.diff(steps, axis=0)]
        print(f"  {variable.path:32} {variable.shape!s:12} {norms[0]:.2e}  {norms[1]:.2e}")
        if not norms[1] > 0:
            raise SystemExit(f"{variable.path} receives no gradient")
        variable.assign(steps[0])


def draw(path, model):
    x = np.linspace(-1, 1, 200, dtype="float32")[None, :, None].repeat(6, axis=0)
    z = np.random.default_rng(2).uniform(-1, 1, (6, 2)).astype("float32")
    y, predicted = family(z, x), model.predict([z, x], verbose=0)
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True)
    for i, axis in enumerate(axes.flat):
        axis.plot(x[i, :, 0], y[i, :, 0], color="lightgray", linewidth=5, label="sin(a x + b)")
        axis.plot(x[i, :, 0], predicted[i, :, 0], label="generated network")
        axis.set_title(f"z = ({z[i, 0]:.2f}, {z[i, 1]:.2f})", fontsize=9)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    inputs, y = sample(rows=4096, points=32, seed=args.seed)
    test_inputs, test_y = sample(rows=1024, points=32, seed=args.seed + 1)
    model = build()
    print(SPEC)
    show_gradients(model, [inputs[0][:256], inputs[1][:256]], y[:256])

    steps = args.epochs * len(y) // 64
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(9e-3, steps)), loss="mse"
    )
    before = model.evaluate(test_inputs, test_y, batch_size=256, verbose=0)
    model.fit(inputs, y, batch_size=64, epochs=args.epochs, verbose=0)
    after = model.evaluate(test_inputs, test_y, batch_size=256, verbose=0)
    show_weights(model, test_inputs[0][:5], test_inputs[1][:5])
    draw(args.output_dir / "target_mlp_from_latent.png", model)
    print(
        f"mean squared error on functions not trained on: {before:.4f} before, {after:.6f} after "
        f"training (the functions' variance is {test_y.var():.3f})"
    )


if __name__ == "__main__":
    main()
