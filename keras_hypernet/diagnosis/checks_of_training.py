"""What may keep a model from training: dead paths, frozen parts, steps of the wrong size."""

from keras_hypernet.diagnosis.checks_of_weights import (
    START,
    TRAINED,
    level,
    start_or_rate,
)
from keras_hypernet.diagnosis.finding import Finding
from keras_hypernet.diagnosis.measures import distance
from keras_hypernet.diagnosis.parts import ROLES
from keras_hypernet.utils.tables import shortened


def signals(f):
    """The size of a signal behind each layer, beside the plain target's."""
    why = "A signal that vanishes or explodes on its way takes the gradient with it."
    known = [row for row in f.signals if row["by_plain"] is not None]
    # What one or two units put out is a matter of chance.
    known = [row for row in known if row["width"] >= 4] or known
    if not known:
        return
    slack = 10 if f.steps > TRAINED else 1

    worst = max(known, key=lambda row: distance(row["by_plain"]))
    # Published starts of three layers are 250 times too small, and train: too large is worse.
    found = level(worst["by_plain"], 6 * slack, 50 * slack if worst["by_plain"] > 1 else 700)
    if found == "bad" and worst["width"] < 4:
        found = "look"
    measured = f"size {worst['size']:.2g}, {worst['by_plain']:.2g} of the plain network's"
    remedy = start_or_rate(f, worst["by_plain"])
    yield Finding("signals", found, worst["layer"], measured, why, remedy, worst["by_plain"])


def gradients(f):
    """Whether gradients reach heads and trunks: zero times zero never moves."""
    if f.step is None or not f.step.finite:
        return
    why = "Where a product has two factors of zero, neither gets a gradient."
    for row in f.generators:
        if row["in_front"] and not _reached(f):
            continue  # behind heads of zero, which is how they start
        of_roles = row["gradients"] or {}
        trained = {role: norm for role, norm in of_roles.items() if norm is not None}
        kernels = {role: n for role, n in trained.items() if role != "head_bias"}
        if not trained:
            continue
        text = ", ".join(f"{role} {trained[role]:.2g}" for role in ROLES if role in trained)
        if not any(trained.values()):
            dead = f.zero_products
            measured = "no gradient arrives"
            remedy = "y = kh.Hyper(layer)(x, weights)  # on the weights of this generator"
            reason = "A generator that the loss does not depend on is not trained."
            lost = [row["layer"] for row in f.signals if row["size"] == 0]
            if lost:
                reason = f"All units of {lost[0]} are 0: no gradient comes back through them."
                remedy = start_or_rate(f, 0.0)
            if dead:
                measured, reason = f"both factors of {dead[0]} are zero", why
                remedy = (
                    'kh.hypernetize(model, conditioning_size, mode="low_rank")  # its own start'
                )
            yield Finding("gradients", "bad", row["name"], measured, reason, remedy, 0.0)
        elif kernels and not any(kernels.values()):
            remedy = f"{START}  # and no zeros of your own"
            measured = f"gradients: {text}: only the bias of the head would move"
            # All units may be 0 for one condition, and not for others.
            found = "bad" if len(set(f.subject.batch.conditions)) > 1 else "look"
            yield Finding("gradients", found, row["name"], measured, why, remedy, 0.0)
        else:
            measured = f"gradients: {text}"
            yield Finding("gradients", "good", row["name"], measured, why)


def _reached(f):
    """Whether a gradient gets through the generators, to what is in front of them."""
    rows = [row["gradients"] or {} for row in f.generators if not row["in_front"]]
    return not rows or any(row.get("trunk") or not row.get("head") for row in rows)


def dead_units(f):
    why = "A unit that is 0 for all conditions adds nothing and gets no gradient."
    for row in f.generators:
        share = row["dead_units"]
        if share is None:
            continue
        found = "bad" if share > 0.95 else "look" if share > 0.75 else "good"
        if found == "bad" and row["units"] < 8:
            found = "look"  # of few units, chance may turn off all
        measured = f"{share:.0%} of a hidden layer's units are 0 for all conditions"
        remedy = 'kh.WeightGenerator(spec, activation="gelu")'
        yield Finding("dead_units", found, row["name"], measured, why, remedy, share)


def frozen(f):
    """Generators, and layers in front of them, of which nothing is trained."""
    why = "What is frozen does not learn."
    rows = [row for row in f.generators if row["parameters"]]
    still = [row["name"] for row in rows if not row["trainable"]]
    if still:
        # Something else may be all that is to be trained, such as the vector of a new user.
        found = "look" if any(row["trainable"] for row in rows) else "bad"
        remedy = f"for name in {still}: model.get_layer(name).trainable = True  # then compile"
        if not f.subject.model.trainable:
            remedy = "model.trainable = True  # then compile again"
        where = shortened(still, ", ")
        yield Finding("frozen", found, where, "no variable is trained", why, remedy)
    for row in rows:
        if row["trainable"] and row["frozen"]:
            measured = f"not trained: {', '.join(row['frozen'])}"
            remedy = f"model.get_layer({row['name']!r}).trainable = True  # then compile again"
            yield Finding("frozen", "look", row["name"], measured, why, remedy)
    if not still:
        trained = sum(row["trainable"] for row in rows)
        names = shortened([row["name"] for row in rows], ", ")
        yield Finding("frozen", "good", names, f"{trained:,} parameters are trained", why)


def normalization(f):
    why = "Batch normalization of a single row is 0, whatever the condition is."
    for row in f.generators:
        if row["one_row_normalized"]:
            measured = "batch normalization with one condition a batch"
            remedy = "kh.WeightGenerator(spec, batch_normalization=False)"
            yield Finding("normalization", "bad", row["name"], measured, why, remedy)


def step(f):
    """The size of a step of the optimizer, by the size of the weights."""
    change = f.change
    if change is None or change["ratio"] is None or not change["compiled"]:
        return
    ratio, plain = change["ratio"], change["plain_ratio"]
    why = "Steps as large as the weights destroy them; steps below their rounding do nothing."
    beside = "" if plain is None else f"; a step of the plain target, by {plain:.1g}"
    measured = f"a step changes weights by {ratio:.1g} of their size{beside}"
    found, remedy = "good", ""
    if ratio > 0.2:
        found = "bad" if ratio > 10 else "look"  # a first step of Adam may be twice as large
        remedy = "model.compile(keras.optimizers.Adam(1e-3), loss)"
    elif ratio < 1e-5 and f.steps <= TRAINED and not change["scheduled"]:
        found = "bad" if ratio < 1e-6 else "look"
        remedy = "model.compile(keras.optimizers.Adam(1e-3), loss)"
    yield Finding("step", found, change["optimizer"], measured, why, remedy, ratio)
