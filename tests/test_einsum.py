"""Equations: the shapes that `EinsumDense` gives its weights, and errors where it has errors."""

import pytest
from keras import layers

from keras_hypernet.ops.einsum import Equation
from keras_hypernet.utils import keras_internals
from tests import features

# (equation, output_shape, shape of the data, bias_axes)
EQUATIONS = [
    ("ab,bc->ac", 4, (None, 3), "c"),
    ("ab,bc->ac", (4,), (2, 3), None),
    ("ab,cb->ac", [4], (None, 3), "c"),
    ("abc,cd->abd", (None, 5), (None, 7, 3), "d"),
    ("abc,cd->abd", (7, 5), (None, 7, 3), "bd"),
    ("abc,cd->abd", (None, 5), (None, None, 3), "d"),
    ("abc,cd->adb", (5, None), (None, 7, 3), "d"),
    ("abc,cde->abde", (None, 2, 5), (None, 7, 3), "de"),
    ("abc,cde->abde", (None, 2, 5), (None, 7, 3), "d"),
    ("abc,cde->abde", (7, 2, 5), (4, 7, 3), "ed"),
    ("abcd,cde->abe", (None, 5), (None, 7, 2, 3), "e"),
    ("abcd,dce->abe", (7, 5), (None, 7, 2, 3), "b"),
    ("abc,bcd->abd", (3, 5), (None, 3, 4), "bd"),
    ("abc,bcd->ad", 5, (None, 3, 4), "d"),
    ("abc,dc->abd", (None, 5), (None, 7, 3), "d"),
    ("abc,bd->acd", (3, 5), (None, 7, 3), "d"),
    ("ab,cd->abcd", (3, 4, 5), (None, 3), "cd"),
    ("abc,c->abc", (7, 3), (None, 7, 3), None),
    ("abc,cd->ad", 5, (None, 3, 4), "d"),
    ("a,b->ab", 4, (None,), "b"),
    ("...x,xy->...y", 4, (None, 3), "y"),
    ("...x,xy->...y", 4, (None, 7, 3), "y"),
    ("...x,xy->...y", 4, (None, 7, 8, 3), "y"),
    ("...xy,xyz->...z", 4, (None, 7, 2, 3), "z"),
    ("...xy,yz->...xz", (2, 4), (None, 7, 2, 3), "xz"),
    ("...xy,yz->...xz", (None, 4), (None, 7, 2, 3), "z"),
    ("...xy,yz->...xz", 4, (None, 3), "z"),
    ("ab...,bc->ac...", 4, (None, 3), "c"),
    ("ab...,bc->ac...", 4, (None, 3, 7), "c"),
    ("ab...,bc->ac...", 4, (None, 3, 7, 8), "c"),
    ("abc...,bcd->ad...", 4, (None, 3, 2, 7), "d"),
    ("abc...,bd->acd...", (2, 4), (None, 3, 2, 7), "c"),
]


def shapes_of_keras(layer):
    return [tuple(variable.shape) for variable in layer.weights]


def shapes(layer, x_shape):
    equation = Equation(layer.equation, len(x_shape))
    return equation.weight_shapes(x_shape, layer.partial_output_shape, layer.bias_axes)


@pytest.mark.parametrize("case", EQUATIONS, ids=str)
def test_shapes_are_those_of_keras(case):
    equation, output_shape, x_shape, bias_axes = case
    layer = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes)
    layer.build(x_shape)
    assert shapes(layer, x_shape) == shapes_of_keras(layer)


@pytest.mark.parametrize("rank", [3, 4, 5])
@pytest.mark.parametrize("output_shape", [None, 6, (2, 3)])
@features.takes(layers.MultiHeadAttention, use_gate=True)
def test_shapes_of_attention_are_those_of_keras(rank, output_shape):
    attention = layers.MultiHeadAttention(
        2, 3, value_dim=4, output_shape=output_shape, use_gate=True
    )
    x_shape = (None, *range(5, 4 + rank))
    attention.build(x_shape, x_shape)
    projections = [
        layer
        for layer in keras_internals.layers_in(attention)
        if isinstance(layer, layers.EinsumDense)
    ]
    assert len(projections) == 5
    for layer in projections:
        last = layer is projections[-1]
        shape = (*x_shape[:-1], 2, 4) if last else x_shape
        assert shapes(layer, shape) == shapes_of_keras(layer), layer.name


REFUSED_BY_KERAS = [
    ("ab, bc -> ac", 4, (None, 3), None, "without spaces"),
    ("ab,bc", 4, (None, 3), None, "in the form"),
    ("ab,bc,cd->ad", 4, (None, 3), None, "in the form"),
    ("...ab,bc->ac", 4, (None, 3), None, "in the form"),
    ("ab...,bc->ac", 4, (None, 3), None, "in the form"),
    ("...ab,bc->ac...", 4, (None, 7, 3), None, "in the form"),
    ("...ab...,bc->...ac...", 4, (None, 7, 3), None, "in the form"),
    ("a...,b->ab...", 4, (None, 7), None, "two or more letters"),
    ("ab,...bc->ac", 4, (None, 3), None, "in the form"),
    ("a1,1c->ac", 4, (None, 3), None, "in the form"),
    ("abc,cd->abd", (6, 5), (None, 7, 3), None, "6 on axis 'b', of which `x` has 7"),
    ("abc,cd->abd", (6, 5), (None, None, 3), None, "6 on axis 'b', of which `x` has None"),
    ("abc,cd->abde", (7, 5, 2), (None, 7, 3), None, r"\['e'\] in the output alone"),
    ("abc,cde->abd", (7, 5), (None, 7, 3), None, r"\['e'\] in the kernel alone"),
    ("abc,cd->abd", (7,), (None, 7, 3), None, r"sizes of the axes \['b', 'd'\]"),
    ("abc,cd->abd", (7, 5), (None, 3), None, "must have 3 axes"),
    ("...xy,yz->...xz", 4, (3,), None, "must have 2 axes or more"),
    ("ab,bc->ac", 4, (None, 3), "b", "`bias_axes` must be"),
    ("ab,bc->ac", 4, (None, 3), "a", "must not have the batch"),
    ("ab,bc->ac", 4, (None, 3), "", "one or more"),
]

REFUSED = [  # where the layer of Keras is built, and fails or is wrong when it is called
    ("ab,bc->ac...", 4, (None, 3), None, "in the form"),
    ("ab,bc->acd", (4, 2), (None, 7, 3), None, "must have 2 axes"),
    ("abc,cd->abd", (7, 5, 2), (None, 7, 3), None, r"sizes of the axes \['b', 'd'\]"),
    ("abc,ad->bcd", (3, 5), (None, 7, 3), None, "must have the batch as the first axis"),
]


@pytest.mark.parametrize("case", REFUSED_BY_KERAS + REFUSED, ids=str)
def test_errors(case):
    equation, output_shape, x_shape, bias_axes, match = case
    if case in REFUSED_BY_KERAS:
        with pytest.raises((ValueError, IndexError, TypeError)):
            layers.EinsumDense(equation, output_shape, bias_axes=bias_axes).build(x_shape)
    with pytest.raises(ValueError, match=match):
        Equation(equation, len(x_shape)).weight_shapes(
            x_shape, (output_shape,) if isinstance(output_shape, int) else output_shape, bias_axes
        )
