"""Django's entry to the app."""

from django.apps import AppConfig


class GenerationConfig(AppConfig):
    """The app's name for Django."""

    name = "generation"
