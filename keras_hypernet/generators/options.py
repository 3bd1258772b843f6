"""Arguments of a generator inside another one."""

import difflib
import inspect

LAYER = (
    "name",
    "dtype",
    "trainable",
    "trainable_parts",
    "autocast",
    "activity_regularizer",
    "initialization",
    "unknown",
)
OWN = (*LAYER, "spec", "num_conditions", "factored")


def of_layer(kwargs, inside):
    """Keyword arguments -> those of the outer layer, and those of the generator class inside."""
    known = [*LAYER, "factored", *inspect.signature(inside).parameters]
    for name in kwargs:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise ValueError(f"Unknown argument: {name!r}. Nearest: {near}")
    if "factored" in kwargs:
        raise ValueError(
            "`factored` is for a `WeightGenerator`: weights that are put together from chunks are "
            "flat. Received: factored=" + repr(kwargs["factored"])
        )
    layer = {name: value for name, value in kwargs.items() if name in LAYER}
    return layer, {name: value for name, value in kwargs.items() if name not in LAYER}


def of_statistics(conditional, num_conditions, arguments):
    """What a perceptron with these arguments gets so that conditions have their own statistics."""
    own = conditional and arguments.get("batch_normalization")
    return {"num_conditions": num_conditions} if own else {}


def of_generator(generator):
    """The arguments of a generator inside, as the outer one's config has them."""
    return {name: value for name, value in generator.get_config().items() if name not in OWN}
