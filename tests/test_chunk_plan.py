"""`ChunkPlan` and how a structured generator follows it."""

import json

import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests.backend import numpy_of

TARGET = {
    "rows": (8, 3),  # chunks 3 and 4
    "columns": (4, 6),  # 1 and 2
    "again": (4, 3),  # 1 once more
    "backwards": (12, 3),  # 4, 3 and 2
    "vector": (6,),
    "one": (),
}
KINDS = {
    "block": {"shapes": {"matrix": (4, 3), "vector": (3,)}, "number": 6, "embedding_size": 2},
    "scalar": {"shapes": {"one": ()}, "embedding_size": 1},
}
ASSEMBLY = {
    "rows": {"join": ["block/3/matrix", "block/4/matrix"], "axis": 0},
    "columns": {"join": ["block/1/matrix", "block/2/matrix"], "axis": -1},
    "again": "block/1/matrix",
    "backwards": {"join": ["block/4/matrix", "block/3/matrix", "block/2/matrix"]},
    "vector": {"join": ["block/2/vector", "block/5/vector"]},
    "one": "scalar/0/one",
}


def by_hand(chunks):
    """The assembly of the plan, from the chunks `(rows, number, outputs)` of each kind."""
    block = chunks["chunk_embeddings/block"]
    matrix, vector = block[:, :, :12].reshape(-1, 6, 4, 3), block[:, :, 12:]
    parts = [
        np.concatenate([matrix[:, 3], matrix[:, 4]], axis=1),
        np.concatenate([matrix[:, 1], matrix[:, 2]], axis=2),
        matrix[:, 1],
        np.concatenate([matrix[:, 4], matrix[:, 3], matrix[:, 2]], axis=1),
        np.concatenate([vector[:, 2], vector[:, 5]], axis=1),
        chunks["chunk_embeddings/scalar"],
    ]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


@pytest.mark.parametrize("left_out", [(), ("again", "backwards")])
def test_chunks_go_where_the_plan_says(left_out, rng):
    """With pieces that are used twice or in another order, and without."""
    target = {name: shape for name, shape in TARGET.items() if name not in left_out}
    assembly = {name: entry for name, entry in ASSEMBLY.items() if name not in left_out}
    plan = kh.ChunkPlan(target, KINDS, assembly)
    generator = kh.StructuredWeightGenerator(plan, hidden_sizes=[5])
    z = rng.normal(size=(4, 2)).astype("float32")
    flat = numpy_of(generator(z))
    made = {
        name: numpy_of(x) for name, x in generator.generate(ops.convert_to_tensor(z), False).items()
    }
    whole = kh.WeightSpec.from_shapes(TARGET).split(by_hand(made))
    for name, tensor in plan.spec.split(flat).items():
        np.testing.assert_allclose(tensor, whole[name], rtol=1e-6, err_msg=name)


def test_runs_are_cut_once_where_they_do_not_overlap():
    plan = kh.ChunkPlan(TARGET, KINDS, ASSEMBLY)
    assert plan.runs["rows"] == [("block", "matrix", 3, 5)]
    assert plan.cuts("block", "matrix") is None
    assert plan.cuts("block", "vector") == [(0, 2), (2, 3), (3, 5), (5, 6)]
    assert plan.cuts("scalar", "one") == [(0, 1)]


def test_a_plan_is_stored_and_compared():
    plan = kh.ChunkPlan(TARGET, KINDS, ASSEMBLY)
    copy = kh.ChunkPlan.from_config(json.loads(json.dumps(plan.get_config())))
    assert copy == plan
    assert repr(copy) == repr(plan)
    assert plan.num_chunks == 7
    assert plan.chunk_outputs == 16
    other = plan.with_embedding_sizes([3, 0])
    assert [kind.embedding_size for kind in other.kinds.values()] == [3, 0]
    assert other != plan
    assert plan.with_embedding_sizes({"block": 3}).kinds["scalar"].embedding_size == 1


def test_chunks_have_the_roles_and_fans_of_their_target():
    target = {"a/kernel": (6, 8), "a/bias": (8,), "b/kernel": (10, 4)}
    plan = kh.ChunkPlan(
        target,
        kinds={
            "a": {"shapes": {"half": (6, 4), "offset": (4,)}, "number": 2},
            "b": {"shapes": {"whole": (10, 4)}},
        },
        assembly={
            "a/kernel": {"join": ["a/0/half", "a/1/half"], "axis": 1},
            "a/bias": {"join": ["a/0/offset", "a/1/offset"]},
            "b/kernel": "b/0/whole",
        },
    )
    half, offset = plan.kinds["a"].spec
    assert (half.role, half.fan_in, half.fan_out) == ("kernel", 6, 8)
    assert (offset.role, offset.fan_in, offset.fan_out) == ("bias", 6, 8)
    assert plan.kinds["b"].spec["whole"].fan_in == 10


@pytest.mark.parametrize(
    ("sizes", "exception", "message"),
    [
        ([1], ValueError, "`sizes` must have one entry per kind"),
        ({"no": 1}, ValueError, "`sizes` must have only the keys"),
        ([0, 1], ValueError, "may be 0 only"),
        ([], ValueError, "must not be empty"),
        (3, TypeError, "`sizes` must be a list"),
    ],
)
def test_embedding_sizes_that_do_not_fit(sizes, exception, message):
    with pytest.raises(exception, match=message):
        kh.ChunkPlan(TARGET, KINDS, ASSEMBLY).with_embedding_sizes(sizes)
