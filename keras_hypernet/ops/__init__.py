"""Pure functions of tensors: targets applied with one set of weights per row."""
