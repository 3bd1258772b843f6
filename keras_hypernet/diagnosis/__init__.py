"""Whether a hypernetwork trains, and if not, why: findings, and pictures."""

from keras_hypernet.diagnosis.diagnose import diagnose as diagnose
