"""Pure functions of tensors: what layers do, with weights per row."""
