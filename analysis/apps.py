"""Django's entry to the app."""

from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    """The app's name for Django."""

    name = "analysis"
