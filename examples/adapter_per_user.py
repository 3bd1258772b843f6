"""An adapter per user: one frozen GPT-2 of KerasHub, and everyone's text continued in their way.

    user id -> vector -> generator -> down, up of every query and value kernel
    words so far -> frozen GPT-2 with kernel + down @ up -> next word

Every user writes a synthetic language of their own (`_languages.py`), so the least loss is known. A
small GPT-2 has read other languages and is frozen. From there on:

1. all users train together, a sentence of another user in every row of a batch: what is trained is
   a vector for each user and one generator of adapters;
2. a user comes later: a new vector is fitted to 16 sentences of theirs, and nothing else moves;
3. two files, of the generator with the vectors and of the vectors after the user came, are loaded
   into a model made anew;
4. all are served from tables, without the generator: by `predict`, and by KerasHub's own
   `generate`, with another user in every row of the batch;
5. the new user's adapter becomes KerasHub's own file, which a plain GPT-2 reads.

    KERAS_BACKEND=jax python examples/adapter_per_user.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from _languages import LENGTH, START, WORDS, every_language, sentences, surprise

import keras_hypernet as kh

try:
    import keras_hub
except ImportError:
    missing = 'This example needs KerasHub: pip install "keras-hypernet[keras-hub]"'
    raise SystemExit(missing) from None

WIDTH, LAYERS, HEADS, RANK, VECTOR, HIDDEN = 32, 2, 4, 4, 8, (16,)
USERS, NEW = 64, 64  # users 0 ... 63, and the id of the one who comes later
BATCH, BATCHES, NEW_SENTENCES, TEST_SENTENCES = 64, 20, 16, 64


class Texts:
    """Sentences of users who take turns: who writes, what is read, and what comes next."""

    def __init__(self, languages, number, seed, first=0):
        turns = np.arange(number, dtype="int32") % len(languages)
        words = sentences(languages[turns], np.random.default_rng(seed))
        self.users = first + turns
        self.least = surprise(languages[turns], words)
        self.y = words[:, 2:]
        self.x = {"token_ids": words[:, 1:-1], "padding_mask": np.ones_like(self.y)}

    @property
    def with_users(self):
        return {"user": self.users, **self.x}


def plain():
    """A GPT-2, untrained."""
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=WORDS + 1,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=4 * WIDTH,
        max_sequence_length=LENGTH + 1,
        dropout=0.0,
    )
    for variable in backbone.trainable_variables:
        if variable.name == "kernel":  # GPT-2's own start, of 0.02, is for a width of 768
            variable.assign(10 * variable)
    return keras_hub.models.GPT2CausalLM(backbone)


def another(language_model):
    """One with the same values, as `from_preset` would load it."""
    made = plain()
    made.set_weights(language_model.get_weights())
    return made


def adapted(language_model):
    """The same, frozen, with an adapter for each user."""
    user = keras.Input((), dtype="int32", name="user")
    return kh.hypernetize(
        language_model,
        conditioning=kh.ConditionEmbedding(USERS, VECTOR, name="users")(user),
        select=["*/query/kernel", "*/value/kernel"],  # KerasHub's default
        mode="low_rank",
        rank=RANK,
        hidden_sizes=HIDDEN,
        freeze="all",
        copy=False,
    )


def with_new_user(model):
    return kh.with_conditions(model, USERS + 1, start="mean", freeze="all", copy=False)


def fit(model, x, y, rate, epochs=1):
    size = min(BATCH, len(y))
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(y) // size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss=loss)
    model.fit(x, y, batch_size=size, epochs=epochs, shuffle=False, verbose=0)


def losses(logits, y):
    """Nats of each word, `(sentences, LENGTH)`."""
    logits = logits.astype("float64")
    found = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(found, y[..., None], axis=-1)[..., 0]


def continued(language_model, rows):
    """What follows the same first word, `(rows, words)`."""
    token_ids = np.zeros((rows, LENGTH + 1), "int32")
    token_ids[:, 0] = START
    prompt = {"token_ids": token_ids, "padding_mask": np.int32(np.indices(token_ids.shape)[1] < 2)}
    return language_model.generate(prompt, stop_token_ids=None)["token_ids"]


def surprise_of_each(languages, token_ids):
    """Nats per word of texts in languages, `(texts, languages)`."""
    words = np.pad(token_ids, [(0, 0), (1, 0)], constant_values=START)
    each = [surprise(np.tile(x, (len(words), 1)), words).mean(axis=1) for x in languages]
    return np.stack(each, axis=1)


def draw(path, nats):
    """Nats per word of old users and of the new one."""
    figure, axes = plt.subplots(figsize=(6, 3))
    for i, who in enumerate((f"{USERS} users", "new user")):
        places = np.arange(len(nats)) + 0.4 * i
        axes.barh(places, [found[i] for found in nats.values()], height=0.38, label=who)
    axes.set(yticks=np.arange(len(nats)) + 0.2, yticklabels=list(nats), xlabel="nats per word")
    axes.set_xlim(left=1)
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")


def parameters(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60, help=f"of {BATCHES} batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    languages = np.random.default_rng(args.seed).permutation(every_language())
    languages, others = languages[: USERS + 1], languages[USERS + 1 :]
    number, seed = args.epochs * BATCHES * BATCH, 4 * args.seed
    test = Texts(languages, (USERS + 1) * TEST_SENTENCES, seed)
    old = test.users != NEW
    everyone = np.arange(USERS + 1, dtype="int32")

    def tested(model, x):
        return model.predict(x, batch_size=BATCH, verbose=0)

    args.output_dir.mkdir(parents=True, exist_ok=True)
    paths = {
        name: args.output_dir / f"{name}{suffix}"
        for name, suffix in (
            ("backbone", ".weights.h5"),
            ("adapters", ".npz"),
            ("users", ".npz"),
            ("new_user", ".lora.h5"),
        )
    }

    # A backbone, as `from_preset` gives it.
    language_model = plain()
    read = Texts(others, number, seed + 1)
    fit(language_model, read.x, read.y, rate=6e-3)
    without = losses(tested(language_model, test.x), test.y)

    # 1. All users together.
    model = adapted(language_model)
    train = Texts(languages[:USERS], number, seed + 2)
    fit(model, train.with_users, train.y, rate=1e-2)

    numbers = {"adapters": parameters(model.trainable_variables)}
    kh.save_generator(model, paths["adapters"])

    # 2. A new one, alone.
    larger = with_new_user(model)
    before = losses(tested(larger, test.with_users), test.y)
    new = Texts(languages[NEW:], NEW_SENTENCES, seed + 3, first=NEW)
    fit(larger, new.with_users, new.y, rate=0.1, epochs=args.epochs)
    logits = tested(larger, test.with_users)
    after = losses(logits, test.y)

    print(f"{'nats per word on text of their own':36}{f'{USERS} users':>11}{'new user':>12}")
    nats = {
        name: (found[old].mean(), found[~old].mean())
        for name, found in {
            "no adapter": without,
            "adapters, before the new user's fit": before,
            "adapters, after it": after,
            "least possible": test.least,
        }.items()
    }
    for name, (of_old, of_new) in nats.items():
        print(f"{name:36}{of_old:11.3f}{of_new:12.3f}")
    draw(args.output_dir / "adapter_per_user.png", nats)
    moved = np.abs(after - before)[old].max()
    print(f"the fit of the new user changes the others' losses by {moved:.0e}\n")

    # 3. Files.
    language_model.backbone.save_weights(paths["backbone"])
    kh.save_generator(larger, paths["users"])  # the vectors: all else is frozen there
    names = kh.save_lora(larger, everyone[NEW:], paths["new_user"])
    numbers["backbone"] = parameters(language_model.backbone.weights)
    numbers["users"] = parameters(larger.trainable_variables)
    for name, path in paths.items():
        count = f"{numbers[name]:9,} numbers" if name in numbers else f"for {', '.join(names)}"
        print(f"{path.name:22}{path.stat().st_size:9,} bytes  {count}")

    served = another(language_model)
    restored = adapted(served)
    kh.load_generator(restored, paths["adapters"])
    restored = with_new_user(restored)
    kh.load_generator(restored, paths["users"])

    # 4. Everyone served from tables, by `predict` and by `generate`.
    tables = kh.tabulate(restored, everyone, copy=False)
    looked_up = tested(tables, {"row": test.users, **test.x})
    print(
        f"\ntables of {parameters(tables.trainable_variables):,} numbers, after loading: "
        f"logits differ by {np.abs(looked_up - logits).max():.0e}"
    )
    served.compile(sampler="greedy")
    nobody = surprise_of_each(languages, continued(served, 1))
    with kh.load_condition(served, tables, everyone):
        texts = continued(served, len(everyone))
    alone = []
    for user in everyone[-4:]:
        with kh.load_condition(served, restored, np.array([user])):
            alone.append(continued(served, 1)[0])
    same = "the same text as" if np.array_equal(texts[-4:], alone) else "another text than"
    nats = surprise_of_each(languages, texts)
    own = np.diag(nats)
    ranks = (nats < own[:, None]).sum(axis=1)
    print(
        f"`generate`, {len(texts)} users in a batch: {same} one user at a time\n"
        f"what it writes has {own.mean():.2f} nats per word in the user's language, "
        f"{nats.mean():.2f} in all users' ({nobody.mean():.2f} without adapters); the user's is "
        f"the likeliest of {len(texts)} for {np.mean(ranks < 1):.0%} of them, among the three "
        f"likeliest for {np.mean(ranks < 3):.0%}"
    )

    # 5. KerasHub's file, in a plain GPT-2.
    stock = another(language_model)
    stock.backbone.load_lora_weights(paths["new_user"])
    logits_of_new = tested(stock, {name: x[~old] for name, x in test.x.items()})
    print(f"{paths['new_user'].name} in a plain GPT-2: logits differ by ", end="")
    print(f"{np.abs(logits_of_new - logits[~old]).max():.0e}\n")

    gained = without[old].mean() - after[old].mean()
    print(
        f"an adapter per user: {gained:.2f} nats per word less than without, "
        f"{gained / (without - test.least)[old].mean():.0%} of what there is to gain; for a new "
        f"user, from {NEW_SENTENCES} sentences and {VECTOR} trained numbers, "
        f"{without[~old].mean() - after[~old].mean():.2f}"
    )


if __name__ == "__main__":
    main()
