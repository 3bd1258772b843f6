"""Why it does not train: five hypernetworks with a fault, what `kh.diagnose` says, the remedy.

Each network learns y = sin(2 x + tanh(c1)) + x tanh(c2): a function of x for each condition c. The
faults are those of public reports: a head that is too small for a target of six layers, zero times
zero, a sigmoid on the generated weights, conditions of size 100, noise that is not connected (the
target has noise: with it, the network should answer differently each time). The loss with each
fault and without it is measured over seeds; for the noise it is the spread of answers.

The picture is the ladder of variances: how large a signal is behind each layer of the target, for
three starts of the head. Chang et al., 2020 (https://openreview.net/forum?id=H1lma24tPB) show that
the usual initializers of a head make it vanish or explode.

    KERAS_BACKEND=jax python examples/why_it_does_not_train.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROWS, WIDTH, HIDDEN = 512, 32, (64,)


def problem(scale=1.0):
    rng = np.random.default_rng(0)
    c, x = rng.normal(size=(ROWS, 2)), rng.uniform(-1, 1, size=(ROWS, 1))
    y = np.sin(2 * x + np.tanh(c[:, :1])) + x * np.tanh(c[:, 1:])
    return [array.astype("float32") for array in (scale * c, x, y)]


def sizes(depth):
    return [(1, WIDTH), *[(WIDTH, WIDTH)] * (depth - 2), (WIDTH, 1)]


def built(depth=4, **options):
    return kh.build(2, 1, sizes(depth), HIDDEN, **options)


def small_head(initializer="uniform", depth=6):
    """The default of most code: a start for ordinary layers, on the head."""
    start = keras.initializers.RandomUniform(-0.01, 0.01) if initializer == "uniform" else None
    return built(depth, initialization=None, head_kernel_initializer=start or initializer)


def zero_times_zero():
    zeros = {f"{name}_initializer": "zeros" for name in ("kernel", "bias", "head_kernel")}
    return built(**zeros)


def by_hand(activation=None):
    """Weights of each layer, by an activation or without."""
    c, x = keras.Input((2,), name="condition"), keras.Input((1,), name="x")
    y = x
    for i, (inputs, outputs) in enumerate(sizes(4)):
        spec = {f"layer_{i}/kernel": (inputs, outputs), f"layer_{i}/bias": (outputs,)}
        weights = kh.WeightGenerator(spec, HIDDEN)(c)
        if activation:
            weights = keras.layers.Activation(activation)(weights)
        y = kh.Hyper(keras.layers.Dense(outputs, None if outputs == 1 else "relu"))(y, weights)
    return keras.Model([c, x], y)


def with_noise(connected):
    """A network whose weights are random, if its noise is connected."""
    c, noise = keras.Input((2,), name="condition"), keras.Input((4,), name="noise")
    x = keras.Input((1,), name="x")
    generator = kh.WeightGenerator(
        kh.WeightSpec.from_layer_sizes(sizes(4)), HIDDEN, initialization="hyper_fan_in"
    )
    given = {"condition": c, "noise": noise} if connected else {"condition": c}
    y = kh.ApplyGeneratedWeights(sizes(4))(x, generator(given))
    return keras.Model([c, noise, x], y)


# {fault: (the model with it, the model without it, size of the conditions)}
FAULTS = {
    "a head of +-0.01, 6 layers": (small_head, lambda: built(6), 1.0),
    "zero times zero": (zero_times_zero, built, 1.0),
    "a sigmoid behind the head": (lambda: by_hand("sigmoid"), by_hand, 1.0),
    "conditions of size 100": (
        lambda: built(running_scale=False),
        lambda: built(running_scale=True),
        100.0,
    ),
    "noise is not connected": (lambda: with_noise(False), lambda: with_noise(True), 1.0),
}


def noise_of(rows, seed):
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype("float32")


def conditions_of(model, c, seed=0):
    return [c, noise_of(len(c), seed)] if len(model.inputs) == 3 else c


def trained(model, data, epochs, seed):
    """The loss after training, or the spread of answers where there is noise."""
    c, x, y = data
    conditions = conditions_of(model, c)
    noisy = isinstance(conditions, list)
    if noisy:
        y = y + 0.3 * np.random.default_rng(seed).normal(size=y.shape).astype("float32")
    model.fit([*conditions, x] if noisy else [c, x], y, epochs=epochs, verbose=0)
    if not noisy:
        return model.evaluate([c, x], y, verbose=0)
    answers = [model.predict([c, noise_of(len(c), i), x], verbose=0) for i in range(8)]
    return float(np.std(answers, axis=0).mean())


def draw(path):
    """The sizes of signals behind layers, of generated weights beside plain ones."""
    c, x, y = problem()
    starts = {
        "head of +-0.01": "uniform",
        "Glorot's head": "glorot_uniform",
        "default (bias_hyper_init)": None,
    }
    _, axes = plt.subplots(figsize=(6, 3.6))
    for (name, start), marker in zip(starts.items(), "os^"):
        model = built(6) if start is None else small_head(start)
        signals = kh.diagnose(model, c, x, y).figures["signals"]
        layers = range(1, len(signals) + 1)
        axes.plot(layers, [row["size"] for row in signals], marker=marker, label=name)
    plain = [row["plain"] for row in signals]
    axes.plot(layers, plain, color="0.4", linestyle="--", label="plain network")
    axes.set(yscale="log", xlabel="layer of the target", ylabel="size of the signal (RMS)")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    found = {name: ([], []) for name in FAULTS}
    for name, (*makers, scale) in FAULTS.items():
        for seed in args.seeds:
            for make, values in zip(makers, found[name]):
                keras.utils.set_random_seed(seed)
                model, data = make(), problem(scale)
                model.compile(keras.optimizers.Adam(3e-3), "mse")
                if seed == args.seeds[0] and values is found[name][0]:
                    c, x, y = data
                    diagnosis = kh.diagnose(model, conditions_of(model, c), x, y)
                    print(f"\n{name}")
                    for finding in diagnosis.at("bad"):
                        print(f"  {finding.check} of {finding.where}: {finding.measured}")
                        print(f"    > {finding.remedy}")
                values.append(trained(model, data, args.epochs, seed))
    print(f"\n{'':28}{'with the fault':>16}{'without':>10}   loss, mean over seeds")
    for name, (faulty, mended) in found.items():
        last = "   spread of answers" if "noise" in name else ""
        print(f"{name:28}{np.mean(faulty):16.4f}{np.mean(mended):10.4f}{last}")
    draw(args.output_dir / "why_it_does_not_train.png")
    losses = [(np.mean(a), np.mean(b)) for name, (a, b) in found.items() if "noise" not in name]
    ratios = ", ".join(f"{faulty / mended:.0f}" for faulty, mended in losses)
    print(f"the loss with four faults is so many times that without: {ratios}")


if __name__ == "__main__":
    main()
