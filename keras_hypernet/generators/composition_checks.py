"""The arguments of a `ComposedWeightGenerator`: what they must be, and what they are by default."""

from keras_hypernet.conditioning import inputs
from keras_hypernet.generators.generator import check_inside
from keras_hypernet.utils import checks
from keras_hypernet.weights.weight_tensor import check_tensor_names

PLAIN = ("shared", "conditional")


def check_generators(generators):
    if not isinstance(generators, dict):
        raise TypeError(
            f"`generators` must be a dict {{part: generator}}. Received: {generators!r}"
        )
    if len({id(generator) for generator in generators.values()}) < len(generators):
        raise ValueError("`generators` must be one for each part. Received one of them twice.")
    for part, generator in generators.items():
        check_inside(generator, f"generators[{part!r}]", may_embed=True)
        if not isinstance(part, str) or not part or "/" in part or part in PLAIN:
            raise ValueError(
                "Names in `generators` must be strings without a slash, other than "
                f"{PLAIN}. Received: {part!r}"
            )
    return dict(generators)


def check_plain(tensors, regularizers, initializers):
    """What is of plain tensors has no meaning without them."""
    for name, regularizer in regularizers.items():
        if regularizer is not None and tensors[name] is None:
            raise ValueError(
                f"`{name}_regularizer` is of `{name}` tensors, of which there are none: give "
                f"these, or leave it out. Received: {name}_regularizer={regularizer!r}"
            )
    if initializers and all(given is None for given in tensors.values()):
        raise ValueError(
            "`initializers` are of `shared` and `conditional` tensors, of which there are none: "
            f"give these, or leave them out. Received: initializers={initializers!r}"
        )


def common_num_conditions(given, generators, conditional):
    """The number of conditions that the parts, and the argument, agree on."""
    counts = {part: g.num_conditions for part, g in generators.items() if g.num_conditions}
    if given is not None:
        counts["num_conditions"] = checks.positive_int("num_conditions", given)
    if len(set(counts.values())) > 1:
        raise ValueError(f"All parts must have the same number of conditions. Received: {counts}")
    if conditional is not None and not counts:
        raise ValueError("`num_conditions` must be given for `conditional` tensors.")
    if given is not None and conditional is None and len(counts) == 1:
        raise ValueError(
            "`num_conditions` is for `conditional` tensors and parts with conditions, of which "
            f"there are none. Received: num_conditions={given}"
        )
    return next(iter(counts.values()), None)


def check_initializers(initializers, plain):
    names = [name for part in plain.values() for name in part.spec.names]
    check_tensor_names("initializers", initializers, names, of="plain tensors")


def check_part_inputs(part_inputs, generators):
    checks.instance("part_inputs", part_inputs, dict)
    checks.known_keys("part_inputs", part_inputs, generators)
    for part, names in part_inputs.items():
        if not isinstance(names, (list, tuple)):
            raise TypeError(
                f"`part_inputs[{part!r}]` must be a list of {inputs.VECTORS}. Received: {names!r}"
            )
        for name in names:
            checks.choice(f"part_inputs[{part!r}]", name, inputs.VECTORS)
    return {part: tuple(names) for part, names in part_inputs.items()}


def entries_by_name(spec, sources):
    """Each target tensor from the piece of its name, a part's name left out."""
    entries = {}
    for name in spec.names:
        found = [s for s in sources if s == name or s.partition("/")[2] == name]
        if len(found) > 1:
            raise ValueError(
                f"`assembly` must say which piece {name!r} is made of. There are: {found}"
            )
        entries.update((name, piece) for piece in found)
    return entries
