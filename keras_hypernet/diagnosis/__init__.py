"""Whether a hypernetwork trains, and if not, why: findings, and pictures."""

from keras_hypernet.diagnosis import plot as plot
from keras_hypernet.diagnosis.diagnoser import diagnose as diagnose
from keras_hypernet.diagnosis.diagnosis_callback import DiagnosisCallback as DiagnosisCallback
