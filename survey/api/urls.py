"""The API's addresses, under /api/v1/."""

from django.urls import path

from . import views

app_name = "survey-api"
urlpatterns = [
    path("trials/<slug:token>/response", views.ResponseView.as_view(), name="response"),
    path("trials/<slug:token>/skip", views.SkipView.as_view(), name="skip"),
    path("trials/<slug:token>/exposure", views.ExposureView.as_view(), name="exposure"),
    path("studies/<slug:slug>/raters", views.RatersView.as_view(), name="raters"),
    path("studies/<slug:slug>/trials", views.TrialsView.as_view(), name="trials"),
]
