"""`diagnose`: whether a model trains, and if not, why."""

from __future__ import annotations

import keras

from keras_hypernet.diagnosis.diagnosis import Diagnosis
from keras_hypernet.diagnosis.figures import Figures
from keras_hypernet.diagnosis.runs import Runs
from keras_hypernet.diagnosis.subject import Subject
from keras_hypernet.utils import backend, checks, keras_internals
from keras_hypernet.utils.types import Nest


def diagnose(
    model: keras.Model,
    conditioning: Nest,
    inputs: Nest = None,
    y: Nest = None,
    verbose: int | str = "auto",
) -> Diagnosis:
    """Whether a model with generated weights trains, and if not, why, in one call.

    It generates the weights of a few conditions and, where there are data, runs one batch forwards
    and backwards and sees what a step of the compiled optimizer would do. All of it is computed on
    copies: the model is as it was.

    Args:
        model: Functional model with generated weights, or a `ContinualModel`, trained or not.
        conditioning: Conditions, as for `target_weights`: an array, or a list or a dict for several
            inputs. Of a `ContinualModel`, names of tasks, or their ids. Eight different ones are
            looked at. Give those that `fit` is given.
        inputs: Data for the other inputs, an array, a list or a dict; rows as in `fit`. Some 32 to
            64 are looked at.
        y: Targets, for the loss that the model was compiled with. Without them, or without a
            compiled loss, a stand-in is used: the distance of outputs from random numbers.
        verbose: 1 to show a progress bar, 0 for nothing. `"auto"` is 1 for a large target, which
            takes long. Of its kernels a sample of 256 inputs and 256 outputs is looked at.

    Returns:
        A `Diagnosis`, which prints as a table: `findings`, each with a `level` (`"bad"`, `"look"`,
        `"good"`), a `check`, `where` it is, what was `measured`, `why` it matters, and a `remedy`,
        one line of code; the worst first. `level` is the worst one, `at(level)` those of a level,
        `plot()` a picture, `as_dict()` has all figures, as JSON takes them.

        The checks: `finite`; `spread` (the size of generated kernels beside plain ones); `signals`
        (the same of what layers put out); `one_sign` (bounded or rectified heads); `repeated`
        (chunks that repeat rows or columns); `equal_conditions`; `condition_size`; `sensitivity`
        (whether weights depend on the condition); `response` (whether a step does); `inputs` (of
        the conditioning: unconnected ones, linear noise); `proportional` (weights as large as
        conditions are); `directions` (collapse); `gradients` (zero times zero, unreached
        generators); `dead_units`; `frozen`; `normalization` (of a batch with one condition); `step`
        (its size by that of the weights); `coverage` (kernels that are generated, of all); `cost`.

    Raises:
        ValueError, TypeError: if the model is not functional or has no generated weights, or
            conditions and data do not fit its inputs or each other.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 8), (8, 1)])
    >>> model.compile("adam", "mse")
    >>> rng = np.random.default_rng(0)
    >>> c, x, y = (rng.normal(size=(64, n)).astype("float32") for n in (2, 3, 1))
    >>> kh.diagnose(model, c, x, y).level
    'good'
    >>> [found] = kh.diagnose(model, np.ones_like(c), x, y).at("bad")
    >>> found.measured
    'all 64 conditions are equal'

    Reference: Chang et al., 2020, Principled Weight Initialization for Hypernetworks
    (https://openreview.net/forum?id=H1lma24tPB); Ortiz et al., 2024, Magnitude Invariant
    Parametrizations Improve Hypernetwork Learning (https://arxiv.org/abs/2304.07645).
    """
    checks.instance("model", model, keras.Model)
    verbose = verbose if verbose == "auto" else checks.verbose(verbose, "0, 1 or 'auto'")
    with backend.kept_randomness(), keras_internals.own_losses_kept(model):
        subject = Subject(model, conditioning, inputs, y)
        with Runs(subject).shown(verbose) as runs:
            return Diagnosis(subject.model.name, Figures(subject, runs))
