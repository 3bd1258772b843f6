"""What feeds generators."""
