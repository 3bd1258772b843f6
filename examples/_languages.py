"""Synthetic languages: random grammars that follow from a description.

    every_language() -> descriptions (256, 8) of -1 and 1
    sentences(descriptions, rng) -> a sentence of each language
    surprise(descriptions, words), surprise_of_any(candidates, words) -> nats of each word

How likely a word is depends on the two words before it, on its place and on eight features of the
language, whose contributions add up in the logits, but for two that act together.
"""

import numpy as np

LENGTH = 16  # of a sentence
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


def log_probabilities(languages, words, place):
    """Log probabilities of the next word; `words` has two `START` in front."""
    logits = scores(languages, words[:, place + 1], words[:, place], place)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def sentences(languages, rng):
    """A sentence of each row's language, `(rows, LENGTH + 2)`."""
    words = np.full((len(languages), LENGTH + 2), START, "int32")
    for i in range(LENGTH):
        likely = log_probabilities(languages, words, i)
        words[:, i + 2] = (likely + rng.gumbel(size=likely.shape)).argmax(axis=1)
    return words


def surprise(languages, words):
    """`-log p` of each word if the language is known, `(rows, LENGTH)`."""
    rows = np.arange(len(words))
    found = [-log_probabilities(languages, words, i)[rows, words[:, i + 2]] for i in range(LENGTH)]
    return np.stack(found, axis=1)


def surprise_of_any(candidates, words):
    """The same if all that is known is that the language is one of the candidates."""
    each = np.stack([surprise(language[None], words) for language in candidates])
    log_of_all = np.log(np.mean(np.exp(-np.cumsum(each, axis=-1)), axis=0))
    return -np.diff(log_of_all, prepend=0.0, axis=-1)


def every_language():
    """Descriptions of all languages, in the order of `FEATURES`."""
    axes = np.meshgrid(*[[-1, 1]] * len(FEATURES))
    return np.stack([axis.ravel() for axis in axes], axis=1)
