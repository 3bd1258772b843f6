"""Low-rank updates from a description: one frozen decoder, and languages that it never saw.

    id, or description of the language -> generator -> down, up of every kernel
    words so far -> frozen decoder with kernel + down @ up -> next word

Synthetic languages of 16 words are random grammars: how likely a word is depends on the words
before it and on the language's description, eight features of two values each (which kinds of words
follow each other, what agrees with what, where the beat is, ...). So the entropy of a language is
known, and with it the least loss that anything can have. A small decoder learns a mixture of 48
languages without being told which one it reads, and is frozen. It finds out from the context, word
by word; an update that is made for the language says it from the first word on:

    one LoRA            one update of rank 4 for all languages
    LoRA per language   an update for each, nothing shared but the start
    by id               a generator makes it from a learned vector per language
    by description      the same generator makes it from the features

Each has 48 languages mixed in every batch, an update per sentence, which is never multiplied out.
Then 48 other languages are read, whose features were seen, but not together. For them there is no
id and no LoRA; there is a description.

    KERAS_BACKEND=jax python examples/lora_from_description.py
"""

import argparse
import math
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers, ops

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LENGTH, WIDTH, BLOCKS, HEADS, RANK = 16, 32, 2, 4, 4
LANGUAGES, SENTENCES, TEST_SENTENCES, BATCH = 48, 800, 100, 96
BASE, ONE, EACH, ID, DESCRIPTION = (
    "base",
    "one LoRA",
    "LoRA per language",
    "by id",
    "by description",
)

# A word has a kind, a gender and a tone.
KIND, GENDER, TONE = (axis.ravel() for axis in np.meshgrid(range(4), (-1, 1), (-1, 1)))
WORDS, START = len(KIND), len(KIND)  # START stands before the first word
FEATURES = {
    "order": "kinds of words come as 0 1 2 3 0 ..., or the other way round",
    "agreement": "gender is that of an earlier word, or the other one",
    "distance": "which earlier word that is: the last one, or the last but one",
    "harmony": "tone is that of the last word, or the other one",
    "echo": "the kind of the last word but one comes again, or does not",
    "beat": "high tones are on even places, or on odd ones",
    "marking": "kinds 0 and 1 are of the one gender, 2 and 3 of the other, or the reverse",
    "stress": "one gender has high tones, or the other one",
}
RATE, HIDDEN = 3e-3, (16,)
STRENGTH = 1.0  # in nats, of each feature


def scores(language, last, last_but_one, place):
    """Unnormalized log probabilities of the next word, `(rows, words)`.

    Args:
        language: `(rows, features)` of -1 and 1.
        last, last_but_one: Words `(rows,)`, `START` where there is none.
        place: Of the next word.
    """
    order, agreement, distance, harmony, echo, beat, marking, stress = language.T[:, :, None]
    known = [(word != START)[:, None] for word in (last, last_but_one)]
    last, last_but_one = (word[:, None] % WORDS for word in (last, last_but_one))
    step = (KIND - KIND[last]) % 4
    agreeing = np.where(distance > 0, known[0] * GENDER[last], known[1] * GENDER[last_but_one])
    return STRENGTH * (
        known[0] * order * ((step == 1) * 1.0 - (step == 3))
        + agreement * GENDER * agreeing
        + known[0] * harmony * TONE * TONE[last]
        + known[1] * echo * (KIND[last_but_one] == KIND)
        + beat * TONE * (-1) ** place
        + marking * GENDER * np.where(KIND < 2, 1, -1)
        + stress * GENDER * TONE
    )


def log_p(languages, words, place):
    """Log probabilities of the next word; `words` has two `START` in front."""
    logits = scores(languages, words[:, place + 1], words[:, place], place)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def sentences(languages, rng):
    """A sentence of each row's language, `(rows, LENGTH + 2)`."""
    words = np.full((len(languages), LENGTH + 2), START, "int32")
    for i in range(LENGTH):
        likely = log_p(languages, words, i)
        words[:, i + 2] = (likely + rng.gumbel(size=likely.shape)).argmax(axis=1)
    return words


def surprise(languages, words):
    """`-log p` of each word if the language is known, `(rows, LENGTH)`."""
    rows = np.arange(len(words))
    found = [-log_p(languages, words, i)[rows, words[:, i + 2]] for i in range(LENGTH)]
    return np.stack(found, axis=1)


def surprise_of_any(candidates, words):
    """The same if all that is known is that the language is one of the candidates."""
    each = np.stack([surprise(language[None], words) for language in candidates])
    log_of_all = np.log(np.mean(np.exp(-np.cumsum(each, axis=-1)), axis=0))
    return -np.diff(log_of_all, prepend=0.0, axis=-1)


class Data:
    """Sentences of some languages, a number of each: what goes in, and what is to come out."""

    def __init__(self, languages, number, seed):
        ids = np.repeat(np.arange(len(languages), dtype="int32"), number)
        self.languages = languages[ids]
        self.words = sentences(self.languages, np.random.default_rng(seed))
        self.x, self.y = self.words[:, 1:-1], self.words[:, 2:]
        vectors = self.languages.astype("float32")
        self.conditions = {ONE: np.zeros_like(ids), EACH: ids, ID: ids, DESCRIPTION: vectors}

    def inputs(self, way):
        return self.x if way == BASE else [self.conditions[way], self.x]


class Words(layers.Layer):
    """A vector for each word, plus one for its place."""

    def build(self, shape):
        self.of_word = layers.Embedding(WORDS + 1, WIDTH, name="of_word")
        self.of_word.build(shape)
        self.of_place = self.add_weight((LENGTH, WIDTH), initializer="normal", name="of_place")

    def call(self, words):
        return self.of_word(words) + ops.convert_to_tensor(self.of_place)


class Block(layers.Layer):
    """A pre-norm decoder block."""

    def build(self, shape):
        self.norms = [layers.LayerNormalization(name=f"norm_{i}") for i in range(2)]
        names = ("query", "key", "value", "output")
        self.attention = {name: layers.Dense(WIDTH, name=name) for name in names}
        self.wide = layers.Dense(4 * WIDTH, activation="gelu", name="wide")
        self.narrow = layers.Dense(WIDTH, name="narrow")
        for layer in (*self.norms, *self.attention.values(), self.wide):
            layer.build(shape)
        self.narrow.build((*shape[:-1], 4 * WIDTH))

    def call(self, x):
        y = self.norms[0](x)
        split = (-1, LENGTH, HEADS, WIDTH // HEADS)
        query, key, value = (
            ops.reshape(self.attention[name](y), split) for name in ("query", "key", "value")
        )
        causal = ops.convert_to_tensor(np.tri(LENGTH, dtype="bool"))
        y = ops.dot_product_attention(query, key, value, mask=causal[None, None])
        x = x + self.attention["output"](ops.reshape(y, (-1, LENGTH, WIDTH)))
        return x + self.narrow(self.wide(self.norms[1](x)))


def decoder():
    words = keras.Input((LENGTH,), dtype="int32", name="words")
    x = Words(name="words_and_places")(words)
    for i in range(BLOCKS):
        x = Block(name=f"block_{i}")(x)
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(words, layers.Dense(WORDS, name="next_word")(x), name="decoder")


def adapted(base, way):
    """The frozen decoder with generated updates of all dense kernels."""
    options = {"mode": "low_rank", "rank": RANK, "freeze": "all"}
    if way == DESCRIPTION:
        return kh.hypernetize(base, len(FEATURES), hidden_sizes=HIDDEN, **options)
    language = keras.Input((), dtype="int32", name="language")
    if way == ID:
        vector = kh.ConditionEmbedding(LANGUAGES, len(FEATURES))(language)
        return kh.hypernetize(base, conditioning=vector, hidden_sizes=HIDDEN, **options)
    # A linear map of one-hot vectors, without a bias: a row of weights for each language.
    number = LANGUAGES if way == EACH else 1
    one_hot = layers.CategoryEncoding(number, output_mode="one_hot")(language)
    return kh.hypernetize(
        base,
        conditioning=one_hot,
        generator=lambda spec: kh.WeightGenerator(spec, hidden_sizes=(), use_bias=False),
        **options,
    )


def fit(model, way, data, epochs):
    steps = epochs * -(-len(data.y) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(RATE, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(data.inputs(way), data.y, BATCH, epochs, verbose=0)


def losses(model, way, data):
    """Nats of each word, `(sentences, LENGTH)`."""
    logits = model.predict(data.inputs(way), batch_size=BATCH, verbose=0).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_p, data.y[..., None], axis=-1)[..., 0]


