"""`diagnose`: whether a model trains, and if not, why."""

from keras_hypernet.diagnosis.diagnosis import Diagnosis
from keras_hypernet.diagnosis.figures import Figures
from keras_hypernet.diagnosis.runs import Runs
from keras_hypernet.diagnosis.subject import Subject
from keras_hypernet.utils import keras_internals


def diagnose(model, conditioning, inputs=None, y=None):
    with keras_internals.own_losses_kept(model):
        subject = Subject(model, conditioning, inputs, y)
        return Diagnosis(subject.model.name, Figures(subject, Runs(subject)))
