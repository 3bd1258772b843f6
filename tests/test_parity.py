"""The numbers of hypnettorch: outputs, gradients, running statistics, and hyperfan."""

import json
import math

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import compiled, gradients, numpy_of, tensors_of
from tests.hypnettorch import VECTORS, Recording, as_recorded, load

FILES = [
    "hmlp_uncond_only",
    "hmlp_cond_ids",
    "hmlp_linear_nobias",
    "hmlp_batchnorm_eval",
    "hmlp_batchnorm_train",
    "chunked_cond_ids_remainder",
    "chunked_cond_chunk_embs",
    "chunked_uncond_only",
    "structured_doc_simple",
    "structured_shared_chunk_embs",
    "structured_templates",
    "structured_resnet_default",
    "structured_wrn_gcd_all",
    "container_doc1",
    "container_no_hnets",
    "perturb_default",
    "deconv_predecessor_chunked",
]
WITHOUT_GRADIENTS = [
    "structured_resnet_default",
    "structured_wrn_gcd_all",
    "deconv_predecessor_chunked",
]


def calls(files, quick=99):
    """The calls of recordings; those after the first few are slow."""
    numbers = {name: range(len(Recording(name).calls)) for name in files}
    return [
        pytest.param(n, k, id=f"{n}-{k}", marks=[pytest.mark.slow] if k >= quick else [])
        for n in files
        for k in numbers[n]
    ]


# How chunks of structured networks become targets.


def join(pieces, axis):
    return {"join": pieces, "axis": axis}


def in_order(chunks, args=None):
    return [tensor for chunk in chunks for tensor in chunk]


def in_pairs(chunks, args):
    pairs = [join([chunks[2][t], chunks[3][t]], 0) for t in range(2)]
    return [*chunks[0], *chunks[1], *pairs]


def resnet(chunks, args):
    """Without cuts a chunk is `[weight, bias, scale, shift]` of one layer, in their order."""
    return in_order([chunk[2:] for chunk in chunks]) + in_order([chunk[:2] for chunk in chunks])


def wrn(chunks, args):
    """Cut along the inputs; bias, scale and shift are those of a layer's first chunk."""
    net = args["net"]
    first, *groups = net["num_feature_maps"]
    groups = [net["k"] * channels for channels in groups]
    pieces = [1]  # of each 3x3 convolution
    for before, channels in zip([first, *groups], groups):
        size = math.gcd(before, channels)
        pieces += [before // size] + [channels // size] * (2 * net["n"] - 1)
    norms, convs, rest = [], [], list(chunks)
    for number in pieces:
        layer, rest = rest[:number], rest[number:]
        norms += layer[0][2:]
        convs += [join([chunk[0] for chunk in layer], 1), layer[0][1]]
    *skips, output = rest
    return [*norms, *in_order(skips), *convs, *output]


ASSEMBLIES = {
    "structured_doc_simple": in_order,
    "structured_shared_chunk_embs": in_pairs,
    "structured_templates": in_order,
    "structured_resnet_default": resnet,
    "structured_wrn_gcd_all": wrn,
}


# Generators.


class Training(keras.layers.Layer):
    """A layer, always called as in training."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.built = True

    def call(self, conditioning):
        return self.layer(conditioning, training=True)


def loaded(name, k=0):
    """A recording, our layer as it was before call k, and `{parameter: Place}`."""
    recording = Recording(name, ASSEMBLIES.get(name))
    layer, places = load(recording, k)
    return recording, Training(layer) if recording.training else layer, places


@pytest.mark.parametrize(("name", "k"), calls(FILES))
def test_outputs(name, k):
    recording, layer, _ = loaded(name, k)
    flat = numpy_of(layer(recording.conditioning(k)))
    assert_close(flat, recording.outputs(k))
    spec = kh.WeightSpec.from_shapes(recording.config["target_shapes"], layout="torch")
    for i, tensor in enumerate(spec.split(flat).values()):
        assert_close(tensor, recording.arrays[f"call{k}.out.t{i}"])


@pytest.mark.parametrize("name", FILES)
def test_compiled_outputs(name):
    recording, layer, _ = loaded(name)

    def run(conditioning):
        with keras.StatelessScope():  # a jitted function must not assign running statistics
            return layer(conditioning)

    assert_close(compiled(run)(tensors_of(recording.conditioning(0))), recording.outputs(0))


def assert_close(actual, expected):
    actual = numpy_of(actual)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "k"), calls([name for name in FILES if name not in WITHOUT_GRADIENTS], quick=1)
)
def test_gradients(name, k):
    recording, layer, places = loaded(name, k)
    recorded = recording.group(f"call{k}.grad.")
    reached = {id(places[parameter].variable) for parameter in recorded}
    for variable in layer.trainable_variables:
        variable.trainable = id(variable) in reached  # backends disagree on what is not reached
    # A batch's own statistics take a bias' gradient away and, with two rows, nearly that of what
    # comes before them. Rounding stays, of upstream's numbers too.
    largest = max(np.abs(gradient).max() for gradient in recorded.values())
    rounding = 1e-5 * largest if recording.training else 0.0
    seed = recording.arrays[f"call{k}.grad_seed"]
    found, _ = gradients(layer, [recording.conditioning(k)], seed)
    found = {id(v): g for v, g in zip(layer.trainable_variables, found, strict=True)}
    for parameter, value in recording.group("param.").items():
        if id(places[parameter].variable) not in reached:
            continue
        gradient = places[parameter].get(found[id(places[parameter].variable)], value.shape)
        expected = recorded.get(parameter, np.zeros(value.shape))
        tolerance = 1e-4 * np.abs(expected).max() + rounding
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance, err_msg=parameter)


@pytest.mark.parametrize(("name", "k"), calls(["hmlp_batchnorm_train"]))
def test_running_statistics(name, k):
    recording, layer, places = loaded(name, k)
    layer(recording.conditioning(k))
    rows, before = recording.calls[k]["batch_size"], recording.statistics(k)
    after = recording.group(f"call{k}.out.stat_after.")
    for statistic, expected in after.items():
        found, kept = numpy_of(places[statistic].variable), 0.9 * before[statistic]
        if "var" in statistic:  # Keras' is the biased one
            found = kept + (found - kept) * rows / (rows - 1)
        assert_close(found, expected)


# Hyperfan.

METHODS = {"in": kh.HyperFanIn, "out": kh.HyperFanOut, "harmonic": kh.HyperFanHarmonic}
ROLES = {"weight": "kernel", "bias": "bias", "bn_scale": "scale", "bn_shift": "offset"}
OVERRIDES = {
    "w_val": "head_kernel_means",
    "w_var": "head_kernel_variances",
    "b_val": "head_bias_means",
    "b_var": "head_bias_variances",
}


def cases(group):
    return [
        pytest.param(case, id=f"{case.get('shapes', group)}-{case['method']}-{i}")
        for i, case in enumerate(json.loads((VECTORS / "hyperfan_hmlp.json").read_text())[group])
    ]


def spec_of(case):
    """Tensors with the layers of the recorded meta data; what has none is alone in its own."""
    shapes, roles = {}, []
    for i, ((kind, layer), shape) in enumerate(zip(case["meta"], case["target_shapes"])):
        role = ROLES[kind]
        layer = f"layer_{layer}" if role in ("kernel", "bias") and layer >= 0 else f"alone_{i}"
        shapes[f"{layer}/{role}"] = shape
        roles.append(role)
    return kh.WeightSpec.from_shapes(shapes, roles, layout="torch")


def initialized(case):
    """A generator that was initialized as a case says, and `{(layer, variable): initializer}`."""
    overrides = {
        OVERRIDES[name]: {ROLES[kind]: number for kind, number in numbers.items()}
        for name, numbers in case.get("kwargs", {}).items()
    }
    initialization = METHODS[case["method"]](
        "xavier" if case["use_xavier"] else "kaiming",
        condition_variance=case.get("cond_var", 1.0),
        noise_variance=case.get("uncond_var", 1.0),
        **overrides,
    )
    generator = kh.WeightGenerator(
        spec_of(case),
        batch_normalization=case.get("use_batch_norm", False),
        **{**as_recorded(case["layers"]), "initialization": initialization},
    )
    sizes = {"noise": case.get("uncond_in_size", 0), "condition": case["cond_in_size"]}
    generator.build({name: (None, size) for name, size in sizes.items() if size})
    found = generator.initializers(initialization)
    return generator, {(id(layer), variable): start for layer, variable, start in found}


def of_tensors(spec, numbers):
    """Numbers for all weights -> one for each tensor, in which they must not differ."""
    return np.array([np.unique(part).item() for part in spec.split(numbers).values()])


@pytest.mark.parametrize("case", cases("cases"))
def test_hyperfan_variances(case):
    generator, starts = initialized(case)
    head = id(generator.head)
    kernel, bias = starts[head, "kernel"], starts[head, "bias"]
    # Upstream's harmonic mean is another number, or divides by zero.
    harmonic = case["method"] == "harmonic"
    expected = case["head_weight_variance" + "_correct_harmonic" * harmonic]
    variances = of_tensors(generator.spec, kernel.variances)
    np.testing.assert_allclose(variances, expected, rtol=1e-6)
    assert not kernel.means.any()
    assert case["head_bias"] == "zeros"
    assert not bias.means.any()
    assert not bias.variances.any()


@pytest.mark.parametrize("case", cases("cases"))
def test_hyperfan_of_inputs_and_hidden_layers(case):
    generator, starts = initialized(case)
    if not case["use_batch_norm"]:  # which makes it 1
        found = generator.initialization.input_variance(generator.input_sizes)
        np.testing.assert_allclose(found, case["input_variance"], rtol=1e-6)
    expected = case["hidden_weight_variance"]
    if expected is None:  # upstream stopped before them; they do not depend on the method
        expected = [2 / layer.dense.kernel.shape[0] for layer in generator.trunk]
    for layer, variance in zip(generator.trunk, expected, strict=True):
        start = starts[id(layer.dense), "kernel"]
        assert (start.mode, start.distribution) == ("fan_in", "uniform")
        np.testing.assert_allclose(start.scale / layer.dense.kernel.shape[0], variance, rtol=1e-6)
        assert np.abs(numpy_of(layer.dense.kernel)).max() <= np.sqrt(3 * variance)
        assert case["hidden_bias"] == "zeros"
        assert not numpy_of(layer.dense.bias).any()


@pytest.mark.parametrize("case", cases("with_mnet"))
def test_hyperfan_with_normalization(case):
    generator, starts = initialized(case)
    recorded = iter(case["init_calls"][3:])  # after those of the hidden layer and all biases
    for tensor in generator.spec:
        at = slice(tensor.offset, tensor.offset + tensor.size)
        for variable, shape in (("kernel", [tensor.size, 10]), ("bias", [tensor.size])):
            bounds = 0.0, 0.0
            if variable == "kernel" or tensor.role in ("scale", "offset"):
                _, received, *bounds = next(recorded)
                assert received == shape
            start = starts[id(generator.head), variable]
            middle, reach = start.means[at], np.sqrt(3 * start.variances[at])
            np.testing.assert_allclose(middle - reach, bounds[0], rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(middle + reach, bounds[-1], rtol=1e-6, atol=1e-7)
            drawn = numpy_of(getattr(generator.head, variable))[..., at]
            assert bounds[0] - 1e-6 <= drawn.min()
            assert drawn.max() <= bounds[-1] + 1e-6
            assert (drawn.std() > 0) == (bounds[0] < bounds[-1])
    assert next(recorded, None) is None
