"""Metrics of generated images against reference images; pure torch and numpy."""
