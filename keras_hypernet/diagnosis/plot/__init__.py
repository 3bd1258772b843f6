"""Pictures of what a hypernetwork generates, learns and does; each function returns a figure."""

from keras_hypernet.diagnosis.plot.condition_map import conditions as conditions
from keras_hypernet.diagnosis.plot.diagnosis_panels import overview as overview
from keras_hypernet.diagnosis.plot.diagnosis_panels import sensitivity as sensitivity
from keras_hypernet.diagnosis.plot.diagnosis_panels import signals as signals
from keras_hypernet.diagnosis.plot.histograms import weights as weights
from keras_hypernet.diagnosis.plot.kernel_images import filters as filters
from keras_hypernet.diagnosis.plot.steps_between import interpolation as interpolation
