"""Layers inside generators."""
