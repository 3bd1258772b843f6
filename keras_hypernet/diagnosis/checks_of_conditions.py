"""What may be wrong with conditions, and with what generators make of them."""

from keras_hypernet.diagnosis.checks_of_weights import ENCODED, START, TRAINED, level
from keras_hypernet.diagnosis.finding import Finding
from keras_hypernet.diagnosis.measures import distance

NOTHING = 1e-12  # of rounding
SCALED = "conditioning = kh.RunningScale()(conditioning)  # or `running_scale=True`"
HANDED = 'weights = generator({{"condition": condition, "noise": {}}})  # or what it is'


def equal_conditions(f):
    why = "Equal conditions give equal weights: there is nothing to learn from them."
    given, different = f.conditions["given"], f.conditions["different"]
    if given > 1 and different == 1:
        remedy = "conditioning = kh.ConditionEmbedding(num_conditions, 8)(ids)  # a vector for each"
        measured = f"all {given} conditions are equal"
        # A model may have been made for a single id.
        found = "look" if all(row["ids"] for row in f.inputs) else "bad"
        yield Finding("equal_conditions", found, "conditioning", measured, why, remedy)
        return
    near = [row for row in f.inputs if row.get("together") is not None and row["together"] < 0.02]
    if near and given > 1:
        measured = f"conditions differ by {near[0]['together']:.2g} of their size"
        why = "A generator hardly tells conditions apart that lie together far from 0."
        remedy = (
            "norm = keras.layers.Normalization(); norm.adapt(x); conditioning = norm(conditioning)"
        )
        yield Finding("equal_conditions", "bad", near[0]["name"], measured, why, remedy)
    elif given > 1:
        measured = f"{different} different ones of {given}"
        yield Finding("equal_conditions", "good", "conditioning", measured, why)


def condition_size(f):
    """The size of the vectors that arrive at generators."""
    why = "Generators are made for vectors of size 1: others change weights too little or too much."
    known = [row for row in f.generators if row["arriving"] is not None]
    if not known:
        return

    worst = max(known, key=lambda row: distance(row["arriving"]))
    found = level(worst["arriving"], 5, 30)
    measured = f"vectors of size {worst['arriving']:.2g} arrive"
    remedy = ENCODED if not worst["arriving"] else SCALED
    yield Finding("condition_size", found, worst["name"], measured, why, remedy, worst["arriving"])


def sensitivity(f):
    """Whether generated weights depend on the condition, or will."""
    now, after = f.all["sensitivity"], f.all["response"]
    if now is None or f.conditions["different"] < 2:
        return
    why = "Where all conditions get the same weights, the condition is ignored."
    measured = f"{now:.2g} of their mean square is variance over conditions"
    if now > NOTHING:
        found = "look" if now < 1e-6 and f.steps > TRAINED else "good"
    elif after is None:
        found = "look" if f.steps > TRAINED else "good"
        measured = "equal so far; give `inputs` and `y` to see whether a step changes that"
    elif after <= NOTHING:
        found = "bad"
        measured += ", and a step does not change that"
    elif f.steps > TRAINED:
        found = "bad"
        measured += f", after {f.steps} steps"
    else:
        found = "good"
        measured = "equal at the start, and unlike after a step"
    yield Finding("sensitivity", found, "all weights", measured, why, START, now)
    if found == "good" and after is not None and f.steps <= TRAINED:
        yield from _response(f, now, after)


def _response(f, now, after):
    """Whether a step parts conditions, where they are not parted yet."""
    why = "A step that is the same for all conditions does not teach what they differ in."
    found = "look" if max(after, now) < 1e-4 else "good"
    measured = f"{after:.2g} of what a step does is its own for each condition"
    yield Finding("response", found, "a step", measured, why, SCALED, after)


def inputs(f):
    """Inputs that change nothing, and noise that weights are linear in."""
    why = "What does not reach the weights has no effect: noise does not make them random."
    for name in f.conditions["unused_inputs"]:
        remedy = HANDED.format(name)
        yield Finding("inputs", "bad", name, "no output depends on it", why, remedy)
    # An id that is the only input may be of one condition only: `sensitivity` looks at it.
    rows = [row for row in f.inputs if not row["equal"] and (len(f.inputs) > 1 or not row["ids"])]
    known = f.after is not None
    if f.runs.single:
        rows = []  # the model makes one condition of whatever it is given
    if f.all["sensitivity"] == 0 and not any(row["change"] or row["change_after"] for row in rows):
        rows = []  # `sensitivity` says it
    for row in rows:
        reached = row["change"] or row["change_after"]
        if not reached:
            measured = "weights do not depend on it" + (", nor after a step" if known else "")
            remedy = HANDED.format(row["name"])
            found = "bad" if known else "look"
            yield Finding("inputs", found, row["name"], measured, why, remedy, 0.0)
        elif row["is_noise"] and row["curvature"] is not None and row["curvature"] < 1e-3:
            measured = "weights are linear in this noise"
            linear = "Linear noise makes a Gaussian of few directions, whatever the data say."
            remedy = "kh.WeightGenerator(spec, hidden_sizes=(64,))"
            yield Finding("inputs", "look", row["name"], measured, linear, remedy, reached)
        else:
            measured = f"another value changes weights by {reached:.2g} of their size"
            yield Finding("inputs", "good", row["name"], measured, why, "", reached)


def proportional(f):
    """The slope of the size of weights against the size of a condition."""
    why = "Weights as large as the condition is: small conditions get none (Ortiz et al., 2024)."
    known = [row for row in f.inputs if row.get("slope") is not None]
    for row in known:
        # Of conditions that are about as large, all weights are.
        found = "look" if row["slope"] > 0.9 and row["range"] > 3 else "good"
        measured = (
            f"a condition of twice the size has {2 ** row['slope']:.2g} times larger weights; "
        )
        measured += f"sizes differ by a factor of {row['range']:.2g}"
        yield Finding("proportional", found, row["name"], measured, why, ENCODED, row["slope"])


def directions(f):
    """Collapse: many conditions, and weights that differ in one direction."""
    weights, given = f.all["directions"], f.all["directions_of_conditions"]
    if not weights or f.all["sensitivity"] <= NOTHING or given < 1.5:
        return
    why = "Weights that differ in one direction cannot follow conditions that differ in several."
    found = "look" if weights < 1.1 and given > 2.5 else "good"
    measured = f"weights differ in {weights:.2g} directions, conditions in {given:.2g}"
    remedy = "kh.WeightGenerator(spec, hidden_sizes=(256, 256))"
    yield Finding("directions", found, "all weights", measured, why, remedy, weights)
