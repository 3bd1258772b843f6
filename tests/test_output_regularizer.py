"""`output_regularizer` and `head_masks`: hypnettorch's numbers, sampling, calls, mistakes."""

import itertools
import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests.backend import BACKEND, compiled, gradients, numpy_of
from tests.hypnettorch import (
    VECTORS,
    as_recorded,
    hypernetwork,
    named,
    of_embedding,
    of_perceptron,
)

OLD = np.arange(3, dtype="int32")


def recording():
    with np.load(VECTORS / "regularizer_hmlp.npz") as stored:
        arrays = dict(stored)
    return arrays, json.loads(str(arrays.pop("config")))


ARRAYS, CONFIG = recording()


@pytest.fixture
def hyper():
    spec = kh.WeightSpec.from_shapes(named(CONFIG["target_shapes"]), layout="torch")
    generator = kh.WeightGenerator(spec, **as_recorded([6]))
    hyper = hypernetwork(generator, {"num_cond_embs": 4, "cond_in_size": 4})
    hyper(OLD)
    for name, place in places_of(hyper).items():
        place.put(ARRAYS[f"param.{name}"])
    return hyper


def places_of(hyper):
    return of_embedding(hyper.embedding) | of_perceptron(hyper.generator)


def by_name(hyper, start):
    """Recorded values or changes of variables, `{name: array}`; those of the others are zero."""
    found, names = {}, {id(v): name for name, v in hyper.named_variables().items()}
    for name, place in places_of(hyper).items():
        array, variable = ARRAYS.get(f"{start}.{name}"), place.variable
        if array is not None:
            name = names[id(variable)]
            whole = found.setdefault(name, np.zeros(variable.shape, "float32"))
            whole[place.part] = array if place.axes is None else array.transpose(place.axes)
    return found


def masks():
    masks = np.ones((3, 36), "float32")
    for mask, head in zip(masks, CONFIG["inds_of_out_heads"]):
        others = [i for i in range(4) if i not in head]
        mask[16:32].reshape(4, 4)[others] = 0
        mask[32:][others] = 0
    return masks


def cases(hyper):
    targets, fisher = ARRAYS["in.targets"], ARRAYS["in.fisher_estimates"]
    theta, embeddings = by_name(hyper, "in.dTheta"), by_name(hyper, "in.dTembs")
    before = by_name(hyper, "in.prev_theta") | by_name(hyper, "in.prev_task_embs")
    scaling = CONFIG["reg_scaling"]
    return {
        "plain": {"targets": targets},
        "dTheta": {"targets": targets, "perturbation": theta},
        "dTembs": {"targets": targets, "perturbation": embeddings},
        "dTheta_dTembs": {"targets": targets, "perturbation": theta | embeddings},
        "fisher": {"targets": targets, "importance": fisher},
        "heads": {"targets": targets, "mask": masks()},
        "heads_fisher_scaling": {
            "targets": targets,
            "mask": masks(),
            "importance": fisher,
            "task_coefficients": scaling,
        },
        "reg_scaling": {"targets": targets, "task_coefficients": scaling},
        "prev": {"frozen": before},
        "prev_dTheta": {"frozen": before, "perturbation": theta},
        "batch_size_large": {"targets": targets, "tasks_per_step": 7},
        "batch_size_nonpos": {"targets": targets, "tasks_per_step": None},
    }


NAMES = list(CONFIG["values"])
WITH_GRADIENTS = sorted({n.split(".")[1] for n in ARRAYS if n.startswith("grad.")})


def value_of(hyper, ids, targets, **options):
    return numpy_of(kh.output_regularizer(hyper, np.array(ids), targets, **options)).item()


class Regularizer(keras.layers.Layer):
    def __init__(self, hyper, **options):
        super().__init__()
        self.hyper = hyper
        self.call_options = options
        self.built = True

    def call(self, ids):
        used = sum(ops.sum(v) for v in self.trainable_variables)  # by something, whatever is held
        return (kh.output_regularizer(self.hyper, ids, **self.call_options) + 0 * used)[None]


@pytest.mark.parametrize("tasks_per_call", [None, 2])
@pytest.mark.parametrize("name", NAMES)
def test_recorded_values(hyper, name, tasks_per_call):
    value = kh.output_regularizer(hyper, OLD, **cases(hyper)[name], tasks_per_call=tasks_per_call)
    np.testing.assert_allclose(numpy_of(value), CONFIG["values"][name], rtol=1e-5)


@pytest.mark.parametrize("tasks_per_call", [None, 1, 2])
@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_recorded_gradients(hyper, name, tasks_per_call):
    layer = Regularizer(hyper, **cases(hyper)[name], tasks_per_call=tasks_per_call)
    found, _ = gradients(layer, [OLD], [np.ones(1, "float32")])
    by_id = {id(v): g for v, g in zip(layer.trainable_variables, found, strict=True)}
    for parameter, place in places_of(hyper).items():
        actual = place.get(by_id[id(place.variable)], ARRAYS[f"param.{parameter}"].shape)
        expected = ARRAYS.get(f"grad.{name}.{parameter}", np.zeros_like(actual))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5, err_msg=parameter)


def test_recorded_targets(hyper):
    # What the recorded regularizer is zero for: weights in evaluation, all tasks in one call.
    np.testing.assert_allclose(
        numpy_of(hyper(OLD, training=False)), ARRAYS["out.current_targets"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("case", CONFIG["subset_values_reg_scaling"].values(), ids=str)
def test_recorded_samples(hyper, case):
    ids = np.array(case["ids"], "int32")
    weights = np.array(CONFIG["reg_scaling"])[ids]
    value = kh.output_regularizer(hyper, ids, ARRAYS["in.targets"][ids], task_coefficients=weights)
    np.testing.assert_allclose(numpy_of(value), case["value"], rtol=1e-5)


@pytest.mark.parametrize("tasks_per_step", [1, 2])
def test_samples_are_drawn_without_replacement(hyper, tasks_per_step):
    targets = ARRAYS["in.targets"]
    single = [value_of(hyper, [i], targets[i : i + 1]) for i in range(3)]
    possible = [np.mean(s) for s in itertools.combinations(single, tasks_per_step)]
    seed = keras.random.SeedGenerator(0)

    options = {"tasks_per_step": tasks_per_step, "seed": seed}
    drawn = np.array([value_of(hyper, OLD, targets, **options) for _ in range(30)])
    nearest = np.abs(drawn[:, None] - possible).argmin(axis=1)
    np.testing.assert_allclose(drawn, np.array(possible)[nearest], rtol=1e-5)
    assert set(nearest) == set(range(3))


@pytest.mark.parametrize("tasks_per_step", [None, 2])
def test_under_the_compiler(hyper, tasks_per_step):
    targets = ARRAYS["in.targets"]
    options = {
        "targets": targets,
        "tasks_per_call": 2 if tasks_per_step is None else 1,
        "tasks_per_step": tasks_per_step,
    }
    seed = keras.random.SeedGenerator(0)
    single = [value_of(hyper, [i], targets[i : i + 1]) for i in range(3)]
    possible = [np.mean(s) for s in itertools.combinations(single, tasks_per_step or 3)]
    call = compiled(lambda ids: kh.output_regularizer(hyper, ids, **options, seed=seed))
    value = numpy_of(call(ops.convert_to_tensor(OLD)))
    np.testing.assert_allclose(np.abs(possible - value).min(), 0, atol=1e-5 * value)


@pytest.mark.skipif(BACKEND != "jax", reason="JAX says what a compiled function takes")
def test_few_tasks_per_call_take_the_memory_of_one_call():
    ids = np.arange(40, dtype="int32")
    generator = kh.WeightGenerator([(100, 50)], hidden_sizes=[8])
    hyper = kh.Hypernetwork(generator, num_conditions=40)
    targets = hyper(ids)

    def temporary(tasks_per_call):
        import jax

        layer = Regularizer(hyper, targets=targets, tasks_per_call=tasks_per_call)
        state = [v.value for v in layer.non_trainable_variables]
        gradient = jax.grad(lambda values: layer.stateless_call(values, state, ids)[0][0])
        lowered = jax.jit(gradient).lower([v.value for v in layer.trainable_variables])
        return lowered.compile().memory_analysis().temp_size_in_bytes

    of_a_task = 4 * generator.spec.total
    assert temporary(None) > 40 * of_a_task
    assert temporary(4) < 20 * of_a_task


@pytest.mark.parametrize("perturbed", [False, True])
def test_held_conditions_have_no_gradient(hyper, perturbed):
    change = by_name(hyper, "in.dTembs") if perturbed else None
    options = {"targets": ARRAYS["in.targets"], "perturbation": change}
    table = hyper.embedding.table.embeddings
    values, found = [], {}
    for hold in (False, True):
        layer = Regularizer(hyper, **options, hold_conditions=hold)
        grads, _ = gradients(layer, [OLD], [np.ones(1, "float32")])
        found[hold] = dict(zip([v.path for v in layer.trainable_variables], grads, strict=True))
        values.append(numpy_of(layer(OLD)))
    np.testing.assert_allclose(values[0], values[1])
    assert np.abs(found[False][table.path][:3]).min() > 0
    assert not np.any(found[True].pop(table.path))
    for path, gradient in found[True].items():
        np.testing.assert_allclose(gradient, found[False][path], rtol=1e-6)


def test_dropout_acts_in_training_and_is_drawn_anew_in_each_call():
    generator = kh.WeightGenerator(
        [(3, 4), (4,)], hidden_sizes=[8], dropout=0.5, initialization=None
    )
    hyper = kh.Hypernetwork(generator, num_conditions=4)
    targets = hyper(OLD, training=False)

    def value(training, **options):
        return value_of(hyper, OLD, targets, training=training, **options)

    assert value(False) == 0
    for options in ({}, {"tasks_per_call": 1}):
        assert value(True, **options) > 0
        assert value(True, **options) != value(True, **options)


def test_penalties_of_the_generator_are_left_out():
    generator = kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[8], activity_regularizer="l2")
    hyper = kh.Hypernetwork(generator, num_conditions=4)
    targets = hyper(OLD)
    assert len(hyper.losses) == 1
    assert numpy_of(kh.output_regularizer(hyper, OLD, targets)) == 0
    assert not hyper.losses


def test_head_masks_mark_what_a_head_depends_on():
    spec = kh.WeightSpec.from_layer_sizes([(3, 2), (2, 4)])
    masks = kh.head_masks(spec, [[0, 1], [3]])
    assert masks.shape == (2, 20)
    assert masks[:, :8].all()
    tensors = [spec.split(mask) for mask in masks]
    assert tensors[0]["layer_1/kernel"].tolist() == [[True, True, False, False]] * 2
    assert tensors[1]["layer_1/kernel"].tolist() == [[False, False, False, True]] * 2
    assert tensors[1]["layer_1/bias"].tolist() == [False, False, False, True]


def hyper_of(num_conditions=4, built=True):
    vectors = {"noise_size": 2} if num_conditions is None else {}
    hyper = kh.Hypernetwork(
        kh.WeightGenerator([(3, 4), (4,)]), num_conditions=num_conditions, **vectors
    )
    if built:
        hyper(OLD) if num_conditions else hyper({"noise": np.ones((2, 2), "float32")})
    return hyper


T = np.zeros((3, 16), "float32")
MISTAKES = {
    "no targets": (lambda: kh.output_regularizer(hyper_of(), OLD), ValueError, "targets.*none"),
    "both": (lambda: kh.output_regularizer(hyper_of(), OLD, T, {}), ValueError, "both"),
    "another layer": (
        lambda: kh.output_regularizer(kh.WeightGenerator([(3, 4)]), OLD, T),
        TypeError,
        "must be a `Hypernetwork`",
    ),
    "no conditions": (
        lambda: kh.output_regularizer(hyper_of(None), OLD, T),
        ValueError,
        "must have conditions",
    ),
    "not built": (
        lambda: kh.output_regularizer(hyper_of(built=False), OLD, T),
        ValueError,
        "must be built",
    ),
    "float ids": (
        lambda: kh.output_regularizer(hyper_of(), OLD.astype("float32"), T),
        TypeError,
        "integer",
    ),
    "no ids": (lambda: kh.output_regularizer(hyper_of(), OLD[:0], T[:0]), ValueError, "ids"),
    "ids out of range": (
        lambda: kh.output_regularizer(hyper_of(), OLD + 2, T),
        ValueError,
        "0 ... 3",
    ),
    "targets of another shape": (
        lambda: kh.output_regularizer(hyper_of(), OLD, T[:, 1:]),
        ValueError,
        r"`targets` must have the shape \(3, 16\)",
    ),
    "task weights": (
        lambda: kh.output_regularizer(hyper_of(), OLD, T, task_coefficients=[1.0]),
        ValueError,
        "task_coefficients",
    ),
    "importance": (
        lambda: kh.output_regularizer(hyper_of(), OLD, T, importance=T[:1]),
        ValueError,
        "importance",
    ),
    "mask": (lambda: kh.output_regularizer(hyper_of(), OLD, T, mask=T[0]), ValueError, "mask"),
    "tasks_per_step": (
        lambda: kh.output_regularizer(hyper_of(), OLD, T, tasks_per_step=0),
        ValueError,
        "tasks_per_step",
    ),
    "tasks_per_call": (
        lambda: kh.output_regularizer(hyper_of(), OLD, T, tasks_per_call=0),
        ValueError,
        "tasks_per_call",
    ),
    "unknown variable": (
        lambda: kh.output_regularizer(hyper_of(), OLD, T, perturbation={"a": T}),
        ValueError,
        "must have names",
    ),
    "masks of no outputs": (
        lambda: kh.head_masks({"a/kernel": (2, 3), "b/gamma": (3,)}, [[0]]),
        ValueError,
        "last layer",
    ),
    "a head out of range": (
        lambda: kh.head_masks([(2, 3), (3,)], [[3]]),
        ValueError,
        r"`heads\[0\]`",
    ),
    "an empty head": (lambda: kh.head_masks([(2, 3), (3,)], [[]]), ValueError, r"`heads\[0\]`"),
    "no heads": (lambda: kh.head_masks([(2, 3), (3,)], []), ValueError, "heads"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, exception, message = MISTAKES[name]
    with pytest.raises(exception, match=message):
        call()


@pytest.mark.parametrize("arguments", [{}, {"once_per_condition": True}])
def test_factored_weights_change_as_flat_ones_do(hyper, arguments):
    factored = kh.Hypernetwork.from_config({**hyper.get_config(), "factored": True, **arguments})
    factored(OLD)
    factored.set_weights(hyper.get_weights())
    targets = np.zeros((3, hyper.spec.total), "float32")
    found = [numpy_of(kh.output_regularizer(h, OLD, targets)) for h in (factored, hyper)]
    np.testing.assert_allclose(*found, rtol=1e-5)
