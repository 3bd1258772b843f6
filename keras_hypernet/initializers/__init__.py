"""How generators are initialized, so that what they generate starts well."""
