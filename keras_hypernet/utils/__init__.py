"""Checks, names, tables, copies, and the only files that touch a backend or private Keras."""

from keras_hypernet.utils.activations import sine as sine
