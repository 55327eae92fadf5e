"""The API's addresses, under /api/v1/."""

from django.urls import path

from .views import ResponseView

app_name = "survey-api"
urlpatterns = [
    path("trials/<slug:token>/response", ResponseView.as_view(), name="response"),
]
