"""Django's entry to the app."""

from django.apps import AppConfig


class SurveyConfig(AppConfig):
    """The app's name for Django."""

    name = "survey"
