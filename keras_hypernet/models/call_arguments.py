"""What the call of a layer is given."""

import inspect

from keras import tree

from keras_hypernet.utils import keras_internals


def first_argument(layer, args, kwargs):
    """`(the first argument of a layer's call, the others by name)`."""
    signature = inspect.signature(layer.call)
    # Such as `training`, which every layer takes, and its call may leave to those inside.
    context = set(kwargs) & keras_internals.context_arguments(layer) - set(signature.parameters)
    named = {name: value for name, value in kwargs.items() if name not in context}
    bound = signature.bind(*args, **named).arguments
    (_, first), *others = bound.items()
    others = {**dict(others), **{name: kwargs[name] for name in context}}
    for name, parameter in signature.parameters.items():
        if parameter.kind == parameter.VAR_KEYWORD:
            others.update(others.pop(name, {}))
        elif parameter.kind == parameter.VAR_POSITIONAL and others.pop(name, ()):
            raise ValueError(
                f"The layer {layer.name!r} of class {type(layer).__name__} takes arguments without "
                "names, which cannot be passed on: give its `call` named ones."
            )
    return first, others


def model_arguments(model, args, kwargs):
    """`([what each input of a nested model is fed], [its mask], the other arguments by name)`."""
    fed, others = first_argument(model, args, kwargs)
    wished = keras_internals.functional(model).input
    if isinstance(wished, dict) and isinstance(fed, dict):
        fed = {name: fed[name] for name in wished}
    fed, mask = tree.flatten(fed), others.pop("mask", None)
    masks = [] if mask is None else tree.flatten(mask)
    masks += [None] * (len(fed) - len(masks))  # Keras, too, lets the last ones be left out
    return fed, masks, {name: value for name, value in others.items() if value is not None}
