"""Whole models: made, hypernetized, read, described and specialized."""

from keras_hypernet.models.builder import apply_generated_weights as apply_generated_weights
from keras_hypernet.models.builder import build as build
from keras_hypernet.models.builder import build_weight_generator as build_weight_generator
from keras_hypernet.models.condition_loader import load_condition as load_condition
from keras_hypernet.models.describer import describe as describe
from keras_hypernet.models.generator_file import load_generator as load_generator
from keras_hypernet.models.generator_file import save_generator as save_generator
from keras_hypernet.models.hyper_model import HyperModel as HyperModel
from keras_hypernet.models.hypernetizer import hypernetize as hypernetize
from keras_hypernet.models.lora_file import save_lora as save_lora
from keras_hypernet.models.more_conditions import with_conditions as with_conditions
from keras_hypernet.models.specializer import specialize as specialize
from keras_hypernet.models.tabulator import tabulate as tabulate
from keras_hypernet.models.weight_reader import target_weights as target_weights
