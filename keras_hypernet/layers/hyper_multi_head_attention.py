"""`HyperMultiHeadAttention`: `keras.layers.MultiHeadAttention` on generated weights."""

import dataclasses
import inspect
import string

import keras
from keras import ops

from keras_hypernet.layers.hyper_einsum_dense import HyperEinsumDense
from keras_hypernet.layers.hyper_layer import shapes_of
from keras_hypernet.layers.hyper_twin import HyperTwin
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.weights.layer_tensors import tensor_of_layer
from keras_hypernet.weights.spec import WeightSpec

# In the order of the weights of the Keras layer.
_PARTS = ("query", "key", "gate", "value", "attention_output")


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperMultiHeadAttention(HyperTwin):
    """Multi-head attention whose projections are generated, one set per row.

    `y[b] = attention_output[g](softmax(query[g](q[b]) key[g](k[b])^T / sqrt(key_dim))
    value[g](v[b]))` with `g = b // (batch // rows)`. It is called as
    `layer(query, weights, value)`, and `layer.spec(query_shape, value_shape, key_shape)` is what a
    generator has to make; both shapes are that of the query by default.

    Example:

    >>> layer = kh.HyperMultiHeadAttention(num_heads=2, key_dim=3)
    >>> x = np.ones((4, 7, 5), "float32")
    >>> weights = np.ones((2, layer.spec(x.shape).total), "float32")
    >>> y = layer(x, weights, x)
    >>> keras.ops.shape(y)
    (4, 7, 5)
    """

    twin = keras.layers.MultiHeadAttention
    tensors = tuple(f"{part}/{tensor}" for part in _PARTS for tensor in ("kernel", "bias"))
    more = """
        value, key, and the masks and switches of the twin: What the twin takes beside its query,
            which is `x`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        own = ("shared", "name", "dtype", "trainable", "autocast")
        given = {name: value for name, value in kwargs.items() if name not in own}
        given = inspect.signature(self.twin).bind(*args, **given).arguments
        self.flash_attention = given.get("flash_attention")
        config = {**self.twin_layer().get_config(), "name": "attention"}
        config |= {"dtype": self.dtype_policy, "flash_attention": self.flash_attention}
        self.attention = self.twin.from_config(config)

    @property
    def tensor_names(self):
        config = self.twin_layer().get_config()
        parts = [part for part in _PARTS if part != "gate" or config["use_gate"]]
        tensors = ("kernel", "bias") if config["use_bias"] else ("kernel",)
        return [f"{part}/{tensor}" for part in parts for tensor in tensors]

    # Shapes.

    def projections(self, query_shape, value_shape, key_shape=None):
        """New layers for the parts, with shapes of what they take: `{part: (layer, x_shape)}`."""
        config = self.twin_layer().get_config()
        query_shape, value_shape = tuple(query_shape), tuple(value_shape)
        key_shape = value_shape if key_shape is None else tuple(key_shape)
        heads, key_dim, value_dim = (config[n] for n in ("num_heads", "key_dim", "value_dim"))
        made = tuple(config["output_shape"] or query_shape[-1:])
        parts = {
            "query": (query_shape, 1, (heads, key_dim)),
            "key": (key_shape, 1, (heads, key_dim)),
            "gate": (query_shape, 1, (heads, value_dim)),
            "value": (value_shape, 1, (heads, value_dim)),
            "attention_output": ((*query_shape[:-1], heads, value_dim), 2, made),
        }
        if not config["use_gate"]:
            del parts["gate"]
        same = {n: v for n, v in config.items() if n.endswith("_regularizer")}
        layers = {}
        for name, (shape, contracted, sizes) in parts.items():
            equation, bias_axes = _equation(len(shape), contracted, len(sizes))
            layer = HyperEinsumDense(
                equation,
                (None,) * (len(shape) - contracted - 1) + sizes,
                activation="sigmoid" if name == "gate" else None,
                bias_axes=bias_axes if config["use_bias"] else None,
                shared=self.shared,
                dtype=self.dtype_policy,
                name=name,
                **same,
            )
            layers[name] = (layer, shape)
        return layers

    def weight_shapes(self, query_shape, value_shape=None, key_shape=None):
        value_shape = query_shape if value_shape is None else value_shape
        self.twin_layer().compute_output_shape(query_shape, value_shape, key_shape)
        layers = self.projections(query_shape, value_shape, key_shape)
        return {
            f"{part}/{name}": shape
            for part, (layer, x_shape) in layers.items()
            for name, shape in layer.weight_shapes(x_shape).items()
        }

    def spec(self, query_shape, value_shape=None, key_shape=None):
        """The `WeightSpec` of what is to be generated, for data of shapes."""
        value_shape = query_shape if value_shape is None else value_shape
        tensors = []
        for part, (layer, shape) in self.projections(query_shape, value_shape, key_shape).items():
            for name, size in layer.weight_shapes(shape).items():
                tensor = tensor_of_layer(layer.twin_layer(), name, size)
                tensors.append(dataclasses.replace(tensor, name=f"{self.name}/{part}/{name}"))
        return WeightSpec(tensors)

    def updates(self, name, shape, rank):
        if name.endswith("bias"):
            return super().updates(name, shape, rank)
        contracted = _contracted(name)
        return (*shape[:contracted], rank), (rank, *shape[contracted:])

    def update_equation(self, name, shape):
        contracted, axes = _contracted(name), string.ascii_lowercase[: len(shape)]
        return f"{axes[:contracted]}Z,Z{axes[contracted:]}->{axes}"

    # Checks.

    def __call__(self, query, weights=None, value=None, *args, **kwargs):
        return super().__call__(query, weights, value, *args, **kwargs)

    def check_call(self, query, weights, value, key=None, *masks, **kwargs):
        checks.tensor("value", value)
        if key is not None:
            checks.tensor("key", key)
        self.check_weights(weights)
        shapes = [tuple(x.shape) if x is not None else None for x in (query, value, key)]
        self.check_shapes(shapes[0], shapes_of(weights), *shapes[1:])

    def check_shapes(self, query_shape, weights_shape, value_shape=None, key_shape=None):
        if len(query_shape) < 3:
            raise ValueError(
                "`query` must have three or more axes, (batch, ..., channels). "
                f"Received: shape {tuple(query_shape)}"
            )
        super().check_shapes(query_shape, weights_shape, value_shape, key_shape)

    # Running.

    def build(self, query_shape, weights_shape, value_shape, key_shape=None):
        self._shapes = self.weight_shapes(query_shape, value_shape, key_shape)
        self.check_shapes(query_shape, weights_shape, value_shape, key_shape)
        # One after another as attributes, for the names that saved files have.
        layers = self.projections(query_shape, value_shape, key_shape)
        for part, (layer, x_shape) in layers.items():
            setattr(self, part, layer)
            names = layer.weight_shapes(x_shape)
            layer.build(x_shape, {name: (None, *shape) for name, shape in names.items()})
        keras_internals.build_attention(self.attention, len(query_shape) + 1)

    def call(
        self,
        query,
        weights,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
        use_causal_mask=False,
    ):
        key = value if key is None else key
        tensors = self.tensors_of(weights)
        # As in Keras: only the mask that the query carries counts, and the projections get none.
        query_mask = keras_internals.take_mask(query)
        keras_internals.take_mask(value)
        keras_internals.take_mask(key)
        masks = {"query_mask": query_mask, "value_mask": value_mask, "key_mask": key_mask}
        masks["attention_mask"] = attention_mask
        unmasked = all(mask is None for mask in masks.values())
        causal_only = use_causal_mask and unmasked and self._sliding_window is None
        mask = None
        if not causal_only:
            masks["use_causal_mask"] = use_causal_mask
            mask = keras_internals.attention_mask(self.attention, query, value, **masks)

        def project(part, x):
            prefix = f"{part}/"
            own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            return getattr(self, part)(x, own)

        gate = project("gate", query) if "gate/kernel" in tensors else None
        y, scores = keras_internals.attend(
            self.attention,
            project("query", query),
            project("key", key),
            project("value", value),
            mask,
            training,
            return_attention_scores,
            causal_only,
        )
        y = project("attention_output", y if gate is None else ops.multiply(y, gate))
        if query_mask is not None:
            keras_internals.set_mask(y, query_mask)
        return (y, scores) if return_attention_scores else y

    @property
    def _sliding_window(self):
        return self.twin_layer().get_config()["sliding_window"]

    def compute_output_shape(self, query_shape, weights_shape, value_shape, key_shape=None):
        return self.twin_layer().compute_output_shape(query_shape, value_shape, key_shape)

    def compute_output_spec(self, query, weights, value, key=None, *masks, **kwargs):
        key_shape = None if key is None else key.shape
        shape = self.compute_output_shape(query.shape, None, value.shape, key_shape)
        y = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not kwargs.get("return_attention_scores"):
            return y
        axes, rank = self.attention.attention_axes, len(query.shape)
        others = [query.shape[axis] for axis in range(rank - 1) if axis not in axes]
        pairs = [x.shape[axis] for x in (query, value) for axis in axes]
        scores = (*others, self.twin_layer().num_heads, *pairs)
        return y, keras.KerasTensor(scores, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "flash_attention": self.flash_attention}


def _contracted(name):
    """How many axes of a kernel a projection sums."""
    return 2 if name.startswith("attention_output") else 1


def _equation(rank, contracted, outputs):
    """The equation of a projection of the last axes, and the axes of its bias."""
    letters = string.ascii_lowercase
    x, made = letters[:rank], letters[rank : rank + outputs]
    free, summed = x[: rank - contracted], x[rank - contracted :]
    return f"{x},{summed}{made}->{free}{made}", made
