"""What `kh.diagnose` costs, in training steps of the same model.

    KERAS_BACKEND=jax python benchmarks/diagnosis.py     # or torch, or tensorflow

The models of `contraction.py` and the CNN of `whole_cnn.py`, compiled with Adam, on batches of
their own. A step is one of `fit`: the median over epochs. The first diagnosis of a process makes
what the backend makes for each operation, and on JAX compiles it; the second one does not. Run
nothing else beside it.
"""

import argparse
import statistics
import time

import contraction
import keras
import numpy as np
import whole_cnn
from common import print_table

import keras_hypernet as kh

STEPS = 20  # of an epoch


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def models(names):
    """`{name: (model, conditions, inputs, y)}` of a batch each."""
    rng = np.random.default_rng(0)
    for name, load in contraction.WORKLOADS.items():
        if name in names:
            conditioning, x, y = contraction.batch(load, rng)
            yield name, contraction.hyper(load, "auto"), conditioning, x, y
    if "cnn" in names:
        model = kh.hypernetize(whole_cnn.cnn(), conditioning_size=whole_cnn.CONDITION)
        shapes = ((32, whole_cnn.CONDITION), (32, 28, 28, 1), (32, 10))
        yield "cnn", model, *(rng.normal(size=shape).astype("float32") for shape in shapes)


def measure(model, conditioning, x, y, runs):
    model.compile("adam", "mse")
    given = (np.asarray(conditioning), np.asarray(x), np.asarray(y))
    first = seconds(lambda: kh.diagnose(model, *given))
    conditions, data, targets = (np.concatenate([array] * STEPS) for array in given)
    batch = len(given[1])

    def epoch():
        model.fit([conditions, data], targets, batch_size=batch, epochs=1, shuffle=False, verbose=0)

    epoch()
    times = [(seconds(epoch), seconds(lambda: kh.diagnose(model, *given))) for _ in range(runs)]
    step = statistics.median(epoch for epoch, _ in times) / STEPS
    second = statistics.median(diagnosis for _, diagnosis in times)
    return [f"{first:.1f} s", f"{1e3 * second:.0f}", f"{1e3 * step:.1f}", f"{second / step:.1f}"]


def main():
    names = [*contraction.WORKLOADS, "cnn"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    print(f"{keras.backend.backend()}: medians of {args.runs}, in ms")
    rows = [[name, *measure(*rest, args.runs)] for name, *rest in models(args.models)]
    print_table(["model", "first diagnosis", "a later one", "a step of fit", "in steps"], rows)


if __name__ == "__main__":
    main()
