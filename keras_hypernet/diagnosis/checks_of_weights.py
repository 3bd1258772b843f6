"""What may be wrong with generated weights: each check yields its findings from `Figures`."""

import math

from keras_hypernet.diagnosis.finding import Finding
from keras_hypernet.diagnosis.measures import distance
from keras_hypernet.utils.tables import shortened

START = 'kh.WeightGenerator(spec, initialization="bias_hyper_init")'
ENCODED = "conditioning = kh.UnitNormEncoding(low, high)(conditioning)  # their range"
SLOWER = "model.compile(keras.optimizers.Adam(1e-3, clipnorm=1.0), loss)  # and train anew"
TRAINED = 50  # steps after which a model is no longer at its start


def level(value, look, bad):
    """The level of a value that is better near 1: beyond `look` or `bad` times, up or down."""
    off = distance(value)
    return "bad" if off > bad else "look" if off > look else "good"


def start_or_rate(f, by_plain):
    """The remedy of a size beside the plain one: what grew or died in training took large steps."""
    return SLOWER if f.steps and not 0 < by_plain < 1 else START


def finite(f):
    why = "No step can mend weights that are not finite."
    broken = [row["name"] for row in f.tensors if not row["finite"]]
    if f.broken_data:
        name, row = f.broken_data[0]
        measured = f"a number in row {row} is NaN or infinite"
        why = "Numbers that are not finite make all weights so, in one step."
        yield Finding(
            "finite", "bad", f"`{name}`", measured, why, f"{name} = np.nan_to_num({name})"
        )
    elif broken:
        yield Finding("finite", "bad", broken[0], "NaN or infinite weights", why, START)
    elif f.all["step_finite"] is False:
        measured = f"the loss is {f.all['loss']:.3g}, or a gradient is not finite"
        remedy = "model.compile(keras.optimizers.Adam(1e-3, clipnorm=1.0), loss)"
        yield Finding("finite", "bad", "the loss", measured, why, remedy)
    else:
        yield Finding("finite", "good", "all weights", "finite", why)


def spread(f):
    """The size of generated kernels beside plain ones."""
    why = "Weights of the wrong size make signals and gradients vanish or explode."
    known = [row for row in f.tensors if row["role"] == "kernel" and row["plain"]]
    if not known:
        return
    slack = 10 if f.steps > TRAINED else 1  # training may change sizes

    worst = max(known, key=lambda row: distance(row["spread"]))
    found, remedy = level(worst["spread"], 4 * slack, 30 * slack), start_or_rate(f, worst["spread"])
    # Small kernels do harm by their product: three of a fiftieth train, and six do not.
    product = math.prod(min(row["spread"], 1) for row in known)
    if found == "bad" and 1e-3 < worst["spread"] < 1 and product > 1e-6:
        found = "look"
    measured = f"size {worst['size']:.2g}, {worst['spread']:.2g} of the plain start"
    if found != "bad":
        vanishing = [row for row in known if row["smallest"] < 1e-3 * row["plain"]]
        if vanishing:
            worst, found = vanishing[0], "bad"
            measured = f"size {worst['smallest']:.2g} for one of the conditions"
            remedy = ENCODED
    yield Finding("spread", found, worst["name"], measured, why, remedy, worst["spread"])


def one_sign(f):
    """Kernels without negative, or without positive, numbers: a bounded or rectified head."""
    why = "A kernel of one sign only adds: units cannot subtract. Heads are linear."
    kernels = [row for row in f.tensors if row["role"] == "kernel" and row["entries"] >= 16]
    for row in kernels:
        if row["one_sign"] and not row["plain_one_sign"]:
            remedy = "weights = generator(conditioning)  # and no activation behind it"
            yield Finding("one_sign", "bad", row["name"], "all of one sign", why, remedy)
            return
    if f.parts.bounds:
        measured = f"weights pass through `{f.parts.bounds[0]}`"
        why = "A bounded or rectified output keeps weights out of part of their range."
        remedy = f"weights = generator(conditioning)  # no activation in {f.parts.bounds[1]!r}"
        yield Finding("one_sign", "look", f.parts.bounds[1], measured, why, remedy)
    elif kernels:
        yield Finding("one_sign", "good", "all kernels", "of both signs", why)


def repeated(f):
    """Rows or columns of a kernel that repeat each other, as equal chunks make them."""
    why = "Units with equal weights compute the same: the layer is narrower than it looks."
    known = [row for row in f.tensors if row.get("repeated") is not None]
    if not known:
        return
    worst = max(known, key=lambda row: row["repeated"])
    share = worst["repeated"]
    found = "bad" if share > 0.5 else "look" if share > 0.1 else "good"
    if found == "bad" and f.steps:
        found = "look"  # what training made of it
    measured = f"{share:.0%} of its rows or columns repeat others"
    remedy = 'kh.ChunkedWeightGenerator(spec, chunk_size, initialization="bias_hyper_init")'
    yield Finding("repeated", found, worst["name"], measured, why, remedy, share)


def coverage(f):
    """How many of the target's kernels are generated."""
    generated, every = f.kernels["generated"], f.kernels["all"]
    if not every:
        return
    # Who generates no kernel at all, but scales or biases, means it.
    found = "look" if every > 4 * generated > 0 else "good"
    measured = f"{generated} of {every} kernels are generated or updated"
    why = "A condition changes what is generated, and nothing else."
    remedy = 'kh.hypernetize(model, conditioning_size, select="*kernel")'
    yield Finding("coverage", found, "the target", measured, why, remedy, generated / every)


def cost(f):
    known = [row for row in f.generators if row["weights"] is not None]
    if not known:
        return
    parameters, weights, floats = (
        sum(row[name] or 0 for row in known) for name in ("parameters", "weights", "floats")
    )
    orders = dict.fromkeys(row["contraction"] for row in known)
    measured = (
        f"{parameters:,} parameters for {weights:,} weights, {floats:,.0f} numbers written for "
        f"each row of weights ({', '.join(orders)})"
    )
    why = "What generators cost: memory of parameters, and of numbers for each row."
    names = shortened([row["name"] for row in known], ", ")
    yield Finding("cost", "good", names, measured, why, "", parameters)
