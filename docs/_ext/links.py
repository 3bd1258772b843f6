"""Sphinx extension: code that is a name of this package, of Keras or of an example is a link.

Markdown pages stay plain: `kh.build` in them is a link in the site, and code on GitHub. Names of
Keras link to keras.io. The role `:keras:` does so by hand, and refuses a name that is not in the
table.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxRole

import keras_hypernet as kh

KERAS_IO = "https://keras.io/api/"
KERAS = {
    "Input": "layers/core_layers/input/",
    "KerasTensor": "models/model/",
    "Model": "models/model/",
    "Sequential": "models/sequential/",
    "callbacks.BackupAndRestore": "callbacks/backup_and_restore/",
    "callbacks.Callback": "callbacks/base_callback/",
    "callbacks.ModelCheckpoint": "callbacks/model_checkpoint/",
    "layers.BatchNormalization": "layers/normalization_layers/batch_normalization/",
    "layers.Conv2D": "layers/convolution_layers/convolution2d/",
    "layers.Dense": "layers/core_layers/dense/",
    "layers.Dropout": "layers/regularization_layers/dropout/",
    "layers.EinsumDense": "layers/core_layers/einsum_dense/",
    "layers.Embedding": "layers/core_layers/embedding/",
    "layers.LSTM": "layers/recurrent_layers/lstm/",
    "layers.Layer": "layers/base_layer/",
    "layers.LayerNormalization": "layers/normalization_layers/layer_normalization/",
    "layers.MultiHeadAttention": "layers/attention_layers/multi_head_attention/",
    "layers.Normalization": "layers/preprocessing_layers/numerical/normalization/",
    "layers.TimeDistributed": "layers/recurrent_layers/time_distributed/",
    "losses.SparseCategoricalCrossentropy": "losses/probabilistic_losses/",
    "models.clone_model": "models/model/",
    "ops": "ops/",
    "optimizers.Adam": "optimizers/adam/",
    "saving.load_model": "models/model_saving_apis/model_saving_and_loading/",
    "utils.set_random_seed": "utils/python_utils/",
}
# Names that are ordinary words, too: they are links with `kh.` before them.
WORDS = {"build", "describe", "initialize", "sine", "targets"}
EXAMPLE = re.compile(r"^(?:examples/)?(\w+)\.py$")


def keras_link(name, text):
    code = nodes.literal(text, text)
    return nodes.reference("", "", code, refuri=KERAS_IO + KERAS[name], internal=False)


class KerasRole(SphinxRole):
    def run(self):
        name = self.text.removeprefix("keras.")
        if name not in KERAS:
            message = f"`{name}` has no page in the table of docs/_ext/links.py: add it there."
            error = self.inliner.reporter.error(message, line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, error)], [error]
        return [keras_link(name, f"keras.{name}")], []


class CodeLinks(SphinxTransform):
    default_priority = 500

    def apply(self, **kwargs):
        for node in list(self.document.findall(nodes.literal)):
            if isinstance(node.parent, nodes.reference | nodes.title | addnodes.pending_xref):
                continue
            if (link := self.link(node.astext())) is not None:
                node.replace_self(link)

    def link(self, text):
        name = text.split("(")[0]
        if name.removeprefix("keras.") in KERAS and name.startswith("keras."):
            return keras_link(name.removeprefix("keras."), text)
        if (found := EXAMPLE.match(text)) and found[1] in self.config.gallery_names:
            return self.reference("std", "doc", f"/gallery/{found[1]}", text)
        short = name.removeprefix("kh.")
        public = short.split(".")[0] in kh.__all__ and (name != short or short not in WORDS)
        if public and self.env.docname != f"api/{short}":
            return self.reference("py", "obj", f"keras_hypernet.{short}", text)
        return None

    def reference(self, domain, kind, target, text):
        # What is not found stays code: an argument may have the name of something public.
        return addnodes.pending_xref(
            "",
            nodes.literal(text, text),
            refdomain=domain,
            reftype=kind,
            reftarget=target,
            refexplicit=True,
            refwarn=False,
            refdoc=self.env.docname,
        )


def setup(app):
    examples = Path(__file__).parents[2] / "examples"
    names = [file.stem for file in sorted(examples.glob("[!_]*.py"))]
    app.add_config_value("gallery_names", names, "env")
    app.add_role("keras", KerasRole())
    app.add_transform(CodeLinks)
    return {"parallel_read_safe": True}
