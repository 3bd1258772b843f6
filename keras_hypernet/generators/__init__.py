"""Generators: conditioning -> weights."""
