"""Whether a hypernetwork trains, and if not, why: findings, and pictures."""

from keras_hypernet.diagnosis import plot as plot
from keras_hypernet.diagnosis.diagnose import diagnose as diagnose
