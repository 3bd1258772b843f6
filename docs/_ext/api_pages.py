"""Sphinx extension: writes `docs/api/`, a page for each public name, in families."""

import inspect
from pathlib import Path

from docstrings import to_rst
from sphinx.errors import ExtensionError

import keras_hypernet as kh

FAMILIES = {
    "Whole models": [
        "build",
        "build_weight_generator",
        "apply_generated_weights",
        "hypernetize",
        "HyperModel",
        "describe",
        "target_weights",
    ],
    "Conditions": [
        "ConditionEmbedding",
        "with_conditions",
        "GroupedDataset",
        "UnknownIds",
        "RunningScale",
        "UnitNormEncoding",
        "FourierFeatures",
    ],
    "Generators": [
        "Hypernetwork",
        "TaskWeights",
        "WeightGenerator",
        "ChunkedWeightGenerator",
        "StructuredWeightGenerator",
        "LayerwiseWeightGenerator",
        "DeconvWeightGenerator",
        "ChunkedDeconvWeightGenerator",
        "ComposedWeightGenerator",
        "PerturbedWeightGenerator",
    ],
    "Layers on generated weights": [
        "Hyper",
        "ApplyGeneratedWeights",
        "Rule",
        "register_rule",
        "sine",
    ],
    "How generators start": [
        "BiasHyperInit",
        "HyperFanIn",
        "HyperFanOut",
        "HyperFanHarmonic",
        "initialize",
        "initialize_embeddings",
        "condition_variables",
        "perturb_unconditional",
    ],
    "What goes wrong, and pictures": ["diagnose", "DiagnosisCallback", "plot"],
    "Specs and chunks": [
        "WeightSpec",
        "split_weights",
        "pack_weights",
        "convert_weights",
        "ChunkPlan",
        "plan_chunks",
        "resnet_chunking",
        "wide_resnet_chunking",
        "targets",
    ],
    "Tasks one after another": [
        "ContinualModel",
        "ContinualCheckpoint",
        "AccuracyMatrix",
        "output_regularizer",
        "head_masks",
    ],
    "Bake, save and serve": [
        "specialize",
        "tabulate",
        "load_condition",
        "save_generator",
        "load_generator",
        "save_lora",
    ],
}
# What a user calls on an object. Other methods serve the package, or are Keras' own.
HYPERNETWORK = [
    "with_conditions",
    "named_variables",
    "weight_spec",
    "conditional_variables",
    "unconditional_variables",
    "conditional_spec",
    "unconditional_spec",
]
MEMBERS = {
    "AccuracyMatrix": [
        "initial",
        "accuracies",
        "trained",
        "row",
        "average_accuracy",
        "forgetting",
        "backward_transfer",
        "forward_transfer",
        "plot",
    ],
    "ChunkPlan": ["parameters", "table", "with_embedding_sizes", "chunk_outputs"],
    "ConditionEmbedding": ["with_conditions"],
    "ContinualCheckpoint": ["load", "tasks", "save"],
    "ContinualModel": [
        "begin_task",
        "continue_task",
        "task",
        "task_names",
        "at_task",
        "fit",
        "evaluate",
        "predict",
        "infer_task",
        "specialize",
        "retention_loss",
        "task_conditioning",
        "weight_spec",
    ],
    "GroupedDataset": ["ungroup"],
    "Hyper": ["spec", "tensor_names", "chosen_contraction"],
    "HyperModel": ["predict", "summary", "export"],
    "Hypernetwork": HYPERNETWORK,
    "LayerwiseWeightGenerator": ["kinds", "with_conditions"],
    "Rule": [
        "apply",
        "combine",
        "variables",
        "update_shapes",
        "update_equation",
        "adapted_kernels",
        "output_spec",
    ],
    "StructuredWeightGenerator": ["kind", "with_conditions"],
    "TaskWeights": HYPERNETWORK,
    "WeightSpec": [
        "from_shapes",
        "from_layer_sizes",
        "from_layer",
        "from_model",
        "of",
        "layers",
        "split",
        "pack",
        "split_layers",
        "pack_layers",
        "in_order",
    ],
}


def page(name):
    found = getattr(kh, name)
    title = f"{name}\n{'=' * len(name)}\n\n"
    if inspect.isclass(found):
        lines = [f".. autoclass:: keras_hypernet.{name}"]
        for member in MEMBERS.get(name, ()):
            kind = "property" if isinstance(getattr(found, member), property) else "method"
            lines.append(f"   .. auto{kind}:: {member}")
        return title + "\n\n".join(lines) + "\n"
    if inspect.ismodule(found):
        functions = inspect.getmembers(found, inspect.isfunction)
        entries = [f".. autofunction:: keras_hypernet.{name}.{n}\n" for n, _ in functions]
        return title + inspect.getdoc(found) + "\n\n" + "\n".join(entries)
    return f"{title}.. autofunction:: keras_hypernet.{name}\n"


def table(names):
    rows = [
        f"   * - :doc:`{name} <{name}>`\n     - {summary(getattr(kh, name))}\n" for name in names
    ]
    return ".. list-table::\n   :widths: 35 65\n   :class: names\n\n" + "".join(rows)


def summary(found):
    return to_rst(inspect.getdoc(found).split("\n\n")[0]).replace("\n", " ")


def index():
    parts = ["API\n===\n\nAll public names, ``import keras_hypernet as kh`` before them.\n"]
    for title, names in FAMILIES.items():
        toctree = f".. toctree::\n   :hidden:\n   :caption: {title}\n\n"
        toctree += "".join(f"   {name}\n" for name in names)
        parts.append(f"{title}\n{'-' * len(title)}\n\n{table(names)}\n{toctree}")
    return "\n".join(parts)


def write(app, config):
    listed = sorted(name for names in FAMILIES.values() for name in names)
    if listed != sorted(kh.__all__):
        differing = sorted(set(listed) ^ set(kh.__all__))
        raise ExtensionError(f"FAMILIES in {__file__} must list every public name: {differing}")
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    pages = {name: page(name) for name in listed} | {"index": index()}
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        write_changed(folder / f"{name}.rst", text)


def write_changed(path, text):
    """A page that is as before keeps its time, so that Sphinx need not read it again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app):
    app.connect("config-inited", write)
    return {"parallel_read_safe": True}
