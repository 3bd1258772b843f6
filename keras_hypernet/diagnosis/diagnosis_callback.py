"""`DiagnosisCallback`: a diagnosis at the end of epochs."""

from __future__ import annotations

import keras

from keras_hypernet.diagnosis.diagnoser import diagnose
from keras_hypernet.diagnosis.diagnosis import Diagnosis
from keras_hypernet.diagnosis.finding import LEVELS
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Nest


class DiagnosisCallback(keras.callbacks.Callback):
    """Diagnoses the model that `fit` trains, and says a line where something is wrong.

    It runs `diagnose` before the first epoch and at the end of epochs, on the same conditions and
    data. It prints bad findings, each one once until it is gone. The worst number of each measure
    goes into the `logs` of the epoch, under names that never change, such as `diagnosis_spread`:
    into the history, and into `CSVLogger` and `TensorBoard` where these stand behind it in the list
    of callbacks.

    Args:
        conditioning, inputs, y: As for `diagnose`.
        every: Number of epochs from one diagnosis to the next; the first epoch has one. Epochs
            without one log NaN.
        stop_on: `"bad"` stops the training on a bad finding, `"look"` also on a doubtful one;
            `None` never.
        verbose: 1 to print bad findings, 0 for nothing.

    Raises:
        ValueError, TypeError: on `every` below one and another `stop_on`; in `fit`, as `diagnose`.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 8), (8, 1)])
    >>> model.compile(keras.optimizers.Adam(10.0), "mse")
    >>> rng = np.random.default_rng(0)
    >>> c, x, y = (rng.normal(size=(64, n)).astype("float32") for n in (2, 3, 1))
    >>> watch = kh.DiagnosisCallback(c, x, y, stop_on="bad", verbose=0)
    >>> history = model.fit([c, x], y, epochs=5, verbose=0, callbacks=[watch])
    >>> watch.diagnosis.at("bad")[0].check, len(history.epoch)
    ('step', 1)
    """

    def __init__(
        self,
        conditioning: Nest,
        inputs: Nest = None,
        y: Nest = None,
        every: int = 1,
        stop_on: str | None = None,
        verbose: int = 1,
    ) -> None:
        checks.require(conditioning is not None, "conditioning", "be given", conditioning)
        every = checks.positive_int("every", every)
        if stop_on is not None:
            checks.choice("stop_on", stop_on, LEVELS[:2])
        verbose = checks.verbose(verbose)
        super().__init__()
        self.given = (conditioning, inputs, y)
        self.every = every
        self.stop_on = stop_on
        self.verbose = verbose
        self.diagnosis: Diagnosis | None = None
        self.known: set[tuple[str, str]] = set()

    def on_train_begin(self, logs=None):
        self.known = set()
        self._look("before training")

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        if epoch % self.every:
            logs.update(dict.fromkeys(self.diagnosis.logs(), float("nan")))
        else:
            logs.update(self._look(f"epoch {epoch + 1}").logs())

    def _look(self, when):
        self.diagnosis = diagnosis = diagnose(
            self.model, *self.given, verbose="auto" if self.verbose else 0
        )
        bad = diagnosis.at("bad")
        new = [found for found in bad if (found.check, found.where) not in self.known]
        self.known = {(found.check, found.where) for found in bad}
        if self.verbose:
            for found in new:
                print(
                    f"{when}: {found.check} of {found.where}: {found.measured}. {found.why} "
                    f"> {found.remedy}"
                )
        if self.stop_on and any(diagnosis.at(level) for level in _and_worse(self.stop_on)):
            self.model.stop_training = True
        return diagnosis


def _and_worse(level):
    return LEVELS[: LEVELS.index(level) + 1]
