"""`Steps`: a training step of a model and of its plain target, on copies of all values."""

import dataclasses
import functools

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.diagnosis.parts import EMBEDDINGS, Parts
from keras_hypernet.diagnosis.runs import flat_rows, tensors_of
from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper import Hyper
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.models.calls import filled
from keras_hypernet.models.graph_reader import run
from keras_hypernet.utils import backend, keras_internals
from keras_hypernet.utils.functional_call import outputs_with
from keras_hypernet.utils.observing import observing

DRAWS = 4  # of a plain target
RATE = 1e-3  # Adam's first step is this, by the sign of each gradient


@dataclasses.dataclass
class Step:
    """What a step on a batch finds: a loss, gradients of variables, a signal's way, new values.

    `signals` is `{layer: (root mean square of its output, its width)}`, `arriving` `{generator:
    root mean square of the vectors it gets}`. `after` are the values of the variables after a step
    of the model's optimizer, `after_signs` after one of Adam's first steps, whatever that is.
    """

    loss: float
    finite: bool
    gradients: list
    signals: dict
    arriving: dict
    after: list
    after_signs: list


class Steps:
    """Steps on the batch of a `Subject`. No variable of the model is assigned to.

    Args:
        subject, runs: The `Subject` and its `Runs`.
    """

    def __init__(self, subject, runs):
        self.subject, self.runs, self.graph = subject, runs, subject.graph
        self.parts = Parts(subject.graph)

    def step(self):
        """A `Step` of the model on its batch."""
        values = [ops.copy(variable.value) for variable in self.runs.variables]
        names, arriving = [], []

        def function(values):
            del names[:], arriving[:]

            def inside():
                given = self._given()
                calls = self.graph.calls_before([self.graph.output])
                with observing() as seen:
                    tensors = run(calls, given, training=True)
                arriving.extend(self._arriving(calls, tensors))
                signals = self._signals(seen, names)
                return self._loss(tensors), [signals, [size for _, size in arriving]]

            return outputs_with(zip(self.runs.variables, values), inside, collect_losses=True)

        loss, (signals, sizes), gradients = self._gradients(function, values)
        return Step(
            loss=loss,
            finite=bool(np.isfinite([loss, *signals]).all()) and _finite(gradients),
            gradients=[ops.convert_to_numpy(g) for g in gradients],
            signals={name: (x, width) for (name, width), x in zip(names, signals)},
            arriving=dict(zip([name for name, _ in arriving], sizes)),
            after=self.stepped(self.runs.variables, values, gradients, self.subject.optimizer),
            after_signs=[v - RATE * ops.sign(g) for v, g in zip(values, gradients)],
        )

    def plain_step(self):
        """`(signals, weights (draws, size), the same after a step)` of the plain target.

        Signals and the step are `None` without data; all is `None` where weights are given in a
        form that no plain ones are known for.
        """
        target = self.runs.plain_target
        if not target.possible:
            return None, None, None
        draws, rows = self._draws()
        flats, batch, names = target.drawn(draws), self.subject.batch, []

        def weights(flats, rows):
            given = self._given() if batch else {}
            put = target.put(flats, rows)
            named = self.runs.named(run(target.calls_to_weights, {**given, **put}, False))
            return [self.runs.sampled(tensor) for tensor in named]

        def function(flats):
            del names[:]
            given = {**self._given(), **target.put(flats, rows)}

            def inside():
                with observing() as seen:
                    tensors = run(target.calls, given, training=True)
                return self._loss(tensors), self._signals(seen, names)

            # Keras reads variables that have a regularizer from the scope.
            now = [(variable, variable.value) for variable in self.runs.variables]
            return outputs_with(now, inside, collect_losses=True)

        def flat(flats):
            parts = [(flats, rows)]
            if self.runs.at_once() < rows:
                parts = [([tensor[i : i + 1] for tensor in flats], 1) for i in range(draws)]
            found = []
            for own, number in parts:
                named = outputs_with([], functools.partial(weights, own, number))
                found.append([flat_rows(tensor, number) for tensor in named])
            return [np.concatenate(of_parts)[:draws] for of_parts in zip(*found)]

        if batch is None:
            return None, flat(flats), None
        _, signals, gradients = self._gradients(function, flats)
        signals = {name: x for (name, _), x in zip(names, signals)}
        after = self.stepped([None] * len(flats), flats, gradients)
        return signals, flat(flats), flat(after)

    def _gradients(self, function, values):
        """`(loss, structure of other numbers, gradients)` of a function, without its scale."""
        (loss, others), gradients = backend.value_and_gradients(function, values)
        loss, others = tree.map_structure(lambda x: float(ops.convert_to_numpy(x)), (loss, others))
        scaled = [ops.convert_to_tensor(g / self.loss_scale) for g in gradients]
        return loss / self.loss_scale, others, scaled

    def _draws(self):
        """`(draws of the plain target, rows of weights)`: of these as many as conditions.

        Several draws make its figures less a matter of chance.
        """
        batch = self.subject.batch
        rows = 1 if self.subject.shared else DRAWS if batch is None else len(batch.conditions)
        return min(DRAWS, rows), rows

    @property
    def loss_scale(self):
        """What a loss is multiplied by, so that small gradients are no zeros in half precision."""
        return 1024.0 if self.subject.network.compute_dtype == "float16" else 1.0

    def _given(self):
        """Tensors of the batch's inputs."""
        batch = self.subject.batch
        given = tensors_of(batch.inputs)
        if self.subject.tasks:
            (condition,) = self.subject.conditions
            ids, embedding = batch.conditions, self.subject.tasks.embedding
            given[condition] = ops.convert_to_tensor(ids) if embedding is None else embedding(ids)
        return given

    def _signals(self, seen, names):
        """Root mean squares of what hyper layers put out, whose names go into a list."""
        found, known = [], self._names()
        for layer, output in seen:
            if isinstance(layer, Hyper) and id(layer) in known:
                for i, tensor in enumerate(_floats(output)):
                    name = known[id(layer)] if not i else f"{known[id(layer)]}:{i}"
                    names.append((name, tensor.shape[-1] if tensor.shape else 1))
                    found.append(_size(tensor))
        return found

    def _names(self):
        """`{id of a hyper layer: its name in the graph}`."""
        found = {}
        for call in self.graph.calls_of(HyperLayer):
            for layer in keras_internals.layers_in(call.operation):
                own = layer is call.operation
                found[id(layer)] = call.name if own else f"{call.name}/{layer.name}"
        return found

    def _arriving(self, calls, tensors):
        """`[(name of a generator, size of the vectors that it gets)]`.

        Layers in front stand for what they feed, a trunk of several generators too: they scale.
        """
        found = []
        own = {id(group.layer) for group in self.parts.groups if group.generator is None}
        for call in calls:
            if id(call.operation) not in own and not isinstance(call.operation, Generator):
                continue
            scaled = self.parts.own_calls(call.args[:1])
            scaled += [c for c in self.graph.calls_before(call.args[:1]) if _generates(c)]
            given = _floats(filled(call.args[:1], tensors))
            if all(isinstance(c.operation, EMBEDDINGS) for c in scaled):
                found += [(call.name, _size(tensor)) for tensor in given[:1]]
        return found

    def _loss(self, tensors):
        outputs, batch = filled(self.graph.output, tensors), self.subject.batch
        model = self.subject.model
        if self.subject.tasks:
            outputs = self.subject.tasks.own_outputs(outputs, batch.conditions)
        if batch.y is None or not self.subject.compiled:
            return sum(map(_stand_in, _floats(outputs))) * self.loss_scale
        with keras_internals.own_compiled_loss(model):
            # The data alone: a loss that reads `x` gets what `fit` hands on.
            x = [ops.convert_to_tensor(a) for a in batch.inputs.values()]
            try:
                loss = model.compute_loss(x=x, y=batch.y, y_pred=outputs, training=True)
            except Exception as error:  # of Keras, of a backend, or of a loss of one's own
                shapes = tree.map_structure(lambda a: tuple(a.shape), (batch.y, outputs))
                raise ValueError(
                    "`y` must be what the compiled loss takes beside the model's outputs. "
                    f"Received: shapes {shapes[0]} of y and {shapes[1]} of outputs, and from the "
                    f"loss: {error}"
                ) from error
        return ops.cast(loss, "float32") * self.loss_scale

    def stepped(self, variables, values, gradients, optimizer=None):
        """Values after a step of a copy of an optimizer; `None` is a new one of the model's."""
        given = self.subject.optimizer
        given = keras.optimizers.Adam() if given is None else given
        given = getattr(given, "inner_optimizer", given)  # of one that scales the loss
        copy = keras_internals.optimizer_like(given)
        state = getattr(optimizer, "inner_optimizer", optimizer)
        return _stepped(copy, variables, values, gradients, state)


def _stepped(optimizer, variables, values, gradients, state=None):
    """Values after a step of an optimizer, with the state of another one that was built alike."""
    copies = [keras.Variable(ops.copy(value)) for value in values]
    for new, variable in zip(copies, variables):
        new.constraint = getattr(variable, "constraint", None)
    optimizer.build(copies)
    if state is not None and state.built:
        pairs = [keras_internals.optimizer_state(each) for each in (optimizer, state)]
        shapes = [[tuple(v.shape) for v in own] for own in pairs]
        if shapes[0] == shapes[1]:
            for own, variable in zip(*pairs):
                own.assign(variable)
    # One that accumulates gradients makes a step once in so many.
    for _ in range(optimizer.gradient_accumulation_steps or 1):
        optimizer.apply(gradients, copies)
    return [ops.copy(new.value) for new in copies]


def _generates(call):
    return isinstance(call.operation, Generator)


def _floats(nest):
    return [t for t in tree.flatten(nest) if keras.backend.is_float_dtype(t.dtype)]


def _size(tensor):
    return ops.sqrt(ops.mean(ops.square(ops.cast(tensor, "float32"))))


def _finite(gradients):
    return all(bool(ops.convert_to_numpy(ops.all(ops.isfinite(g)))) for g in gradients)


def _stand_in(output):
    """A loss where none is known: the distance from random numbers."""
    output = ops.cast(output, "float32")
    noise = np.random.default_rng(0).normal(size=tuple(output.shape))
    return ops.mean(ops.square(output - ops.convert_to_tensor(noise, "float32")))
