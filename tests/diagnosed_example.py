"""Runs an example in which each model is diagnosed before and after its first training.

    python -m tests.diagnosed_example examples/pareto_front.py --epochs 1 --output-dir DIR

Prints a line for each diagnosis on the error output, and fails where a finding is above `look`.
"""

import functools
import runpy
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import tree

from keras_hypernet.continual.model_of_tasks import ModelOfTasks
from keras_hypernet.diagnosis.diagnoser import diagnose
from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.models.graph_reader import CallGraph


def is_hyper(model):
    """Whether weights are generated in a model's graph."""
    inner = model.model if isinstance(model, ModelOfTasks) else model
    if not hasattr(inner, "operations"):
        return False
    graph = CallGraph(inner)
    return bool(graph.calls_of(HyperLayer) or graph.calls_of(Generator)) and bool(
        graph.conditioning()
    )


def parts(model, x, y):
    """`(conditioning, inputs, y)` of what `fit` is given, as `diagnose` takes it."""
    if isinstance(x, keras.utils.PyDataset):
        x, y = x[0][:2]
    x = tree.map_structure(np.asarray, x)
    if isinstance(model, ModelOfTasks):
        return list(range(model.num_tasks)), x, y
    inputs = model.inputs
    if not isinstance(x, dict):
        x = dict(zip([symbol.name for symbol in inputs], tree.flatten(x), strict=True))
    conditions = {symbol.name for symbol, _ in CallGraph(model).conditioning()}
    return (
        {name: array for name, array in x.items() if name in conditions},
        {name: array for name, array in x.items() if name not in conditions},
        y,
    )


class Diagnosed:
    """A method that trains, in which models are diagnosed before and after the first time."""

    def __init__(self):
        self.seen, self.bad = [], []

    def wrapped(self, method):
        @functools.wraps(method)
        def train(model, x=None, y=None, *args, **kwargs):
            first = not any(model is each for each in self.seen) and is_hyper(model)
            if first:
                self.seen.append(model)
                self.report(model, "before", x, y)
            result = method(model, x, y, *args, **kwargs)
            if first:
                self.report(model, "after", x, y)
            return result

        return train

    def report(self, model, when, x, y):
        start = time.perf_counter()
        found = diagnose(model, *parts(model, x, y))
        seconds = time.perf_counter() - start
        print(f"diagnosis of {model.name} {when}: {found.level}, {seconds:.1f} s", file=sys.stderr)
        for each in found.at("bad") + found.at("look"):
            print(
                f"    {each.level} {each.check} at {each.where}: {each.measured}", file=sys.stderr
            )
        if found.level == "bad":
            self.bad.append(model.name)


def main(path, *arguments):
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).parent))
    diagnosed = Diagnosed()
    for name in ("fit", "train_on_batch"):
        setattr(keras.Model, name, diagnosed.wrapped(getattr(keras.Model, name)))
    runpy.run_path(path, run_name="__main__")
    if not diagnosed.seen:
        raise SystemExit(f"{path} trains no model with generated weights")
    if diagnosed.bad:
        raise SystemExit(f"bad: {diagnosed.bad}")


if __name__ == "__main__":
    main(*sys.argv[1:])
