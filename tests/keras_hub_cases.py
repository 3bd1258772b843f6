"""Backbones of KerasHub, tiny and random, with data for them and what works how."""

import dataclasses
from collections.abc import Callable

import numpy as np

VOCABULARY, LENGTH = 9, 5


@dataclasses.dataclass
class Family:
    """A family of backbones.

    Args:
        name: Of the class, without `Backbone`.
        arguments: Of the class.
        data: Function of a random generator and a number of rows that returns what it takes.
        kernels: How many kernels are updated, and how many there are.
        copy: Whether its layers' configs make them anew.
        slow: Whether it takes long.
    """

    name: str
    arguments: dict
    data: Callable
    kernels: tuple
    copy: bool = True
    slow: bool = True


def _tokens(rng, rows, prefix=""):
    """Ids, and which of them are no padding, of unequal lengths."""
    lengths = rng.integers(2, LENGTH, size=(rows, 1))
    return {
        f"{prefix}token_ids": rng.integers(0, VOCABULARY, size=(rows, LENGTH)).astype("int32"),
        f"{prefix}padding_mask": (np.arange(LENGTH) < lengths).astype("int32"),
    }


def _segments(rng, rows):
    segment_ids = rng.integers(0, 2, size=(rows, LENGTH)).astype("int32")
    return {**_tokens(rng, rows), "segment_ids": segment_ids}


def _pairs(rng, rows):
    return {**_tokens(rng, rows, "encoder_"), **_tokens(rng, rows, "decoder_")}


def _sounds(rng, rows):
    features = rng.normal(size=(rows, 6, 4)).astype("float32")
    return {"encoder_features": features, **_tokens(rng, rows, "decoder_")}


def _images(rng, rows):
    return rng.normal(size=(rows, *IMAGE)).astype("float32")


SIZES = {"vocabulary_size": VOCABULARY, "num_layers": 2, "hidden_dim": 8, "intermediate_dim": 12}
ENCODER = {**SIZES, "num_heads": 2, "max_sequence_length": LENGTH}
DECODER = {
    **SIZES,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "layer_norm_epsilon": 1e-3,
    "dropout": 0.1,
}
ROTARY = {**DECODER, "rope_max_wavelength": 100}
QWEN = {**ROTARY, "use_sliding_window_attention": True, "sliding_window_size": 2}
GEMMA = {
    **DECODER,
    "head_dim": 4,
    "query_head_dim_normalize": False,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "attention_logit_soft_cap": 2.0,
    "use_sliding_window_attention": True,
    "sliding_window_size": 2,
}
IMAGE = (16, 16, 3)
VIT = {
    "image_shape": IMAGE,
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "mlp_dim": 12,
}
WHISPER = {
    **SIZES,
    "num_heads": 2,
    "num_mels": 4,
    "max_encoder_sequence_length": 6,
    "max_decoder_sequence_length": LENGTH,
}
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 4],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
    "image_shape": IMAGE,
}
MIT = {
    "layerwise_depths": [1, 1],
    "num_layers": 2,
    "layerwise_num_heads": [1, 2],
    "layerwise_sr_ratios": [2, 1],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [3, 3],
    "layerwise_strides": [4, 2],
    "image_shape": IMAGE,
    "hidden_dims": [4, 8],
}

FAMILIES = {
    "BERT": Family("Bert", ENCODER, _segments, (13, 13), slow=False),
    "RoBERTa": Family("Roberta", ENCODER, _tokens, (12, 12)),
    "DistilBERT": Family("DistilBert", ENCODER, _tokens, (12, 12)),
    "GPT-2": Family("GPT2", ENCODER, _tokens, (12, 12), slow=False),
    "OPT": Family("OPT", ENCODER, _tokens, (12, 12)),
    "T5": Family("T5", {**SIZES, "num_heads": 2}, _pairs, (36, 36)),
    "Gemma": Family("Gemma", GEMMA, _tokens, (14, 14), slow=False),
    "Llama": Family("Llama", ROTARY, _tokens, (14, 14), copy=False, slow=False),
    "Mistral": Family("Mistral", {**ROTARY, "sliding_window": 3}, _tokens, (14, 14)),
    "Qwen": Family("Qwen", QWEN, _tokens, (14, 14), copy=False),
    "Phi-3": Family("Phi3", ROTARY, _tokens, (14, 14)),
    "ViT": Family("ViT", VIT, _images, (13, 13), copy=False, slow=False),
    "Whisper": Family("Whisper", WHISPER, _sounds, (34, 34)),
    "ResNet": Family("ResNet", RESNET, _images, (6, 6)),
    # The two kernels that are not updated are those of its depthwise convolutions.
    "MiT": Family("MiT", MIT, _images, (15, 17), copy=False),
}
