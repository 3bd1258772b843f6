"""Which kernel is which in KerasHub's files of adapters: layers of a backbone, by number.

KerasHub counts a backbone's layers in the order in which they became its attributes, or on PyTorch
in that of its graph. Neither can be seen in a hypernetwork, nor are both the same in a backbone of
two towers. So the backbone itself is looked at, where `hypernetize` is given it.
"""

from __future__ import annotations

import dataclasses
import weakref

import keras

from keras_hypernet.layers.rules import is_adapted, rule_of
from keras_hypernet.utils import checks, keras_internals

# KerasHub's own default.
DEFAULT_NAMES = ("query_dense", "value_dense", "query", "value")
_given = weakref.WeakKeyDictionary()  # hypernetwork -> `BackboneLayers` of what it was made of


@dataclasses.dataclass(frozen=True)
class BackboneLayer:
    """A layer with weights: its number, its name, and the paths of the variables that it made.

    `kernel` is the path of the one that a file has factors for, `shape` its shape. `problem` says
    why it has none. `enabled` says whether `enable_lora` does something to the layer.
    """

    index: int
    name: str
    paths: tuple
    kernel: str | None
    shape: tuple | None
    enabled: bool
    problem: str | None

    @classmethod
    def of(cls, index, layer):
        variables = keras_internals.own_variables(layer)
        kernel = next((v for v in variables if v.name == "kernel"), None)
        enabled, kind = hasattr(layer, "enable_lora"), type(layer).__name__
        problem, shape = None, None
        if not enabled:
            problem = f"a `{kind}` has no `enable_lora`"
        elif kernel is None:
            problem = f"KerasHub's file has kernels alone, and none of a `{kind}`"
        elif getattr(layer, "kernel_constraint", None) is not None:
            problem = "Keras takes no adapter beside a constraint"
        else:
            shape = _shape(layer, kernel)
        path = None if problem else kernel.path
        paths = tuple(v.path for v in variables)
        return cls(index, layer.name, paths, path, shape, enabled, problem)


class BackboneLayers:
    """The layers with weights of a stock backbone, as its `load_lora_weights` counts them.

    Args:
        backbone: A built Keras model.

    It holds neither layers nor variables. `default_names` are the names of the layers that
    `load_lora_weights` gives adapters by itself.
    """

    def __init__(self, backbone):
        inside = [layer for layer in keras_internals.layers_in(backbone)[1:] if layer.weights]
        self.layers = [BackboneLayer.of(i, layer) for i, layer in enumerate(inside)]
        default = getattr(backbone, "default_lora_layer_names", lambda: DEFAULT_NAMES)
        self.default_names = set(default())

    def updated(self, shapes):
        """`{path: BackboneLayer}` of what is updated; what a file cannot hold raises.

        Args:
            shapes: `{path of an updated tensor: its shape}`.
        """
        found, problems = {}, []
        for path, shape in shapes.items():
            layers = [layer for layer in self.layers if path in layer.paths]
            if len(layers) != 1:
                where = "not in the backbone" if not layers else "more than once in the backbone"
                problems.append(f"{path} ({where})")
            elif layers[0].problem is not None or layers[0].kernel != path:
                problems.append(f"{path} ({layers[0].problem or 'no kernel'})")
            elif layers[0].shape != shape:
                problems.append(
                    f"{path} (of shape {layers[0].shape} in the backbone, here {shape})"
                )
            else:
                found[path] = layers[0]
        if problems:
            raise ValueError(
                "`model` must update nothing but kernels of the backbone's layers with "
                f"`enable_lora`: leave the others out (`kh.hypernetize(select=...)`). Received: "
                f"{checks.few(problems)}"
            )
        return found

    def names(self, updated):
        """Names for `enable_lora`, which finds the layers that are updated, and others maybe."""
        names = {layer.name for layer in updated}
        if names <= self.default_names:
            names = self.default_names
        return sorted({x.name for x in self.layers if x.enabled and x.name in names})

    def named(self, names):
        """The layers that `enable_lora` finds by names, for all of which a file needs factors."""
        found = [layer for layer in self.layers if layer.enabled and layer.name in names]
        problems = [f"{x.paths[0]} ({x.problem})" for x in found if x.problem is not None]
        if problems:
            raise ValueError(
                f"Layers with the names of those that are updated must take an adapter, too, for "
                f"`enable_lora` knows layers by name. Received: {checks.few(problems)}"
            )
        return found


def _shape(layer, kernel):
    """The shape of a kernel, however it is stored."""
    rule = rule_of(layer)
    if rule is not None and is_adapted(layer):
        return tuple(rule.adapted_kernels(layer).get("kernel", kernel.shape))
    return tuple(kernel.shape)


def remember_backbone(hyper, model):
    """Looks at the backbone that a hypernetwork is made of, if KerasHub can load into it."""
    backbone = _loadable(model)
    if backbone is not None:
        _given[hyper] = BackboneLayers(backbone)


def hand_on_backbone(hyper, other):
    """The same layers for a model that is made of a hypernetwork."""
    if hyper in _given:
        _given[other] = _given[hyper]


def layers_of_backbone(hyper, backbone):
    """The `BackboneLayers` of a given backbone, or of what a hypernetwork was made of."""
    if backbone is not None:
        checks.built_model("backbone", backbone)
        return BackboneLayers(_loadable(backbone) or backbone)
    if hyper not in _given:
        raise ValueError(
            "`backbone` must be given: KerasHub's file numbers the layers of a backbone in an "
            "order that a hypernetwork does not show. It is known where `kh.hypernetize` was given "
            "a KerasHub backbone or task in this process. Give a backbone of the reader's class "
            "and config: `kh.save_lora(model, conditioning, path, backbone=backbone)`. Received: "
            f"backbone=None, model={hyper.name!r}"
        )
    return _given[hyper]


def _loadable(model):
    """The model, or the backbone of a task, if it loads KerasHub's files; else `None`."""
    for found in (model, getattr(model, "backbone", None)):
        if isinstance(found, keras.Model) and hasattr(found, "load_lora_weights"):
            return found
    return None
