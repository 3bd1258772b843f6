"""Low-rank updates from a description: one frozen decoder, and languages that it never saw.

    id, or description of the language -> generator -> down, up of every kernel
    words so far -> frozen decoder with kernel + down @ up -> next word

Synthetic languages of 16 words are random grammars: how likely a word is depends on the words
before it and on the language's description, eight features of two values each (which kinds of words
follow each other, what agrees with what, where the beat is, ...). So their entropy is known, which
is the least loss that anything can have, and also the least loss of a reader who is not told the
language. A small decoder learns a mixture of 96 languages without being told which one it reads,
and is frozen. It finds out from the context, word by word; an update that is made for the language
says it from the first word on:

    one LoRA            one update of rank 4 for all languages
    LoRA per language   an update for each, nothing shared but the start
    by id               a generator makes it from a learned vector per language
    by description      the same generator makes it from the features

In each, `kh.hypernetize` puts an update of its own into every sentence of a batch of mixed
languages, inside the decoder's blocks, and nothing of it is multiplied out. Then come 48 other
languages, whose features were seen, but never together. For them there is no id and no LoRA; there
is a description.

One LoRA for all gains next to nothing here: the base has seen these languages, and what it lacks is
which one it reads. A larger base, trained longer, finds that out sooner; but no model that is not
told comes below `least, not told`. (Published generators of LoRA for language models gain 0.3 to
1.0 points of accuracy over one LoRA for all tasks: there the prompt says what the task is.)

    KERAS_BACKEND=jax python examples/lora_from_description.py
"""

import argparse
import math
from pathlib import Path

import keras
import matplotlib
import numpy as np
from _languages import (
    FEATURES,
    LENGTH,
    WORDS,
    every_language,
    sentences,
    surprise,
    surprise_of_any,
)
from keras import layers, ops

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

WIDTH, BLOCKS, HEADS, RANK, HIDDEN = 32, 2, 4, 4, (16,)
LANGUAGES, HELD_OUT, TEST_SENTENCES = 96, 48, 50
BATCH, BATCHES, RATE = 96, 20, 1e-2
BASE, ONE, EACH = "base", "one LoRA", "LoRA per language"
ID, DESCRIPTION = "by id", "by description"
TOLD, UNTOLD = "least, language told", "least, not told"


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


def fit(model, way, data):
    """Each sentence once."""
    schedule = keras.optimizers.schedules.CosineDecay(RATE, len(data.y) // BATCH)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(data.inputs(way), data.y, batch_size=BATCH, verbose=0)
    return model


def losses(model, way, data):
    """Nats of each word, `(sentences, LENGTH)`."""
    logits = model.predict(data.inputs(way), batch_size=BATCH, verbose=0).astype("float64")
    found = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(found, data.y[..., None], axis=-1)[..., 0]


def parameters(model):
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def run(seen, held_out, epochs, seed):
    """`({way: trained parameters}, {way: nats (seen or held out, place)})` of a seed."""
    keras.utils.set_random_seed(seed)
    per_language = epochs * BATCHES * BATCH // LANGUAGES
    train = Data(seen, per_language, seed=4 * seed)
    tests = [Data(x, TEST_SENTENCES, 4 * seed + i) for i, x in ((1, seen), (2, held_out))]
    base = fit(decoder(), BASE, Data(seen, 2 * per_language, 4 * seed + 3))
    trained, nats = {BASE: parameters(base)}, {}
    nats[TOLD] = [surprise(test.languages, test.words) for test in tests]
    nats[UNTOLD] = [
        surprise_of_any(candidates, test.words)
        for candidates, test in ((seen, tests[0]), (every_language(), tests[1]))
    ]
    nats[BASE] = [losses(base, BASE, test) for test in tests]
    for way in (ONE, EACH, ID, DESCRIPTION):
        model = fit(adapted(base, way), way, train)
        trained[way] = parameters(model)
        # A language without an id has no update.
        readable = tests[:1] if way in (EACH, ID) else tests
        nats[way] = [losses(model, way, test) for test in readable]
    return trained, {way: [x.mean(axis=0) for x in found] for way, found in nats.items()}


def draw(path, nats):
    """Nats above the least, place by place."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for i, (panel, title) in enumerate(
        zip(panels, (f"{LANGUAGES} languages seen", f"{HELD_OUT} held out"))
    ):
        for j, way in enumerate((UNTOLD, BASE, ONE, EACH, ID, DESCRIPTION)):
            if i < len(nats[way][0]):
                above = np.mean([run[i] for run in nats[way]], axis=0)
                above = above - np.mean([run[i] for run in nats[TOLD]], axis=0)
                style = {"color": "black", "linestyle": ":"} if way == UNTOLD else {}
                panel.plot(range(1, LENGTH + 1), above, label=way, **{"color": f"C{j}", **style})
        panel.set(xlabel="word of the sentence", title=title, xticks=range(1, LENGTH + 1, 3))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("nats above the least")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60, help=f"of {BATCHES} batches")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    languages = np.random.default_rng(0).permutation(every_language())
    seen, held_out = np.split(languages[: LANGUAGES + HELD_OUT], [LANGUAGES])
    nats = {}
    for seed in args.seeds:
        trained, of_seed = run(seen, held_out, args.epochs, seed)
        for way, found in of_seed.items():
            nats.setdefault(way, []).append(found)

    print(f"nats per word, {len(args.seeds)} seeds (mean +- std)")
    print(f"{'':22}{'trained':>10}{'seen':>18}{'held out':>18}")
    means = {}
    for way, runs in nats.items():
        columns = [[run[i].mean() for run in runs] for i in range(len(runs[0]))]
        means[way] = [np.mean(column) for column in columns]
        cells = [f"{np.mean(c):.3f} +- {np.std(c):.3f}" for c in columns]
        number = f"{trained[way]:,}" if way in trained else "-"
        print(f"{way:22}{number:>10}" + "".join(f"{c:>18}" for c in (*cells, "-")[:2]))
    print("an id, and a LoRA of its own, are of no help with a language that is not among them\n")
    draw(args.output_dir / "lora_from_description.png", nats)
    gained = [means[ONE][i] - means[DESCRIPTION][i] for i in range(2)]
    shares = [100 * gained[i] / (means[ONE][i] - means[TOLD][i]) for i in range(2)]
    print(
        f"by description: {gained[0]:.2f} nats per word less than one LoRA for all on languages "
        f"seen and {gained[1]:.2f} on those held out, {shares[0]:.0f} and {shares[1]:.0f} % of "
        "what there is to gain; on those held out "
        f"{means[UNTOLD][1] - means[DESCRIPTION][1]:.2f} less than the least without being told"
    )


if __name__ == "__main__":
    main()
