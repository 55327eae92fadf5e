"""The API's addresses, under /api/v1/."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView

from . import staff, views

app_name = "survey-api"
urlpatterns = [
    path("trials/<slug:token>/response", views.ResponseView.as_view(), name="response"),
    path("trials/<slug:token>/skip", views.SkipView.as_view(), name="skip"),
    path("trials/<slug:token>/exposure", views.ExposureView.as_view(), name="exposure"),
    path("studies/", staff.StudiesView.as_view(), name="studies"),
    path("studies/<slug:slug>/", staff.StudyView.as_view(), name="study"),
    path("studies/<slug:slug>/pairs/", staff.PairsView.as_view(), name="pairs"),
    path("studies/<slug:slug>/progress/", staff.ProgressView.as_view(), name="progress"),
    path("studies/<slug:slug>/exports/<slug:table>.<slug:file_format>", staff.ExportView.as_view(), name="export"),
    path("exports/", staff.export_schema, name="export-schema"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", staff.reference, name="reference"),
    path("studies/<slug:slug>/raters", views.RatersView.as_view(), name="raters"),
    path("studies/<slug:slug>/trials", views.TrialsView.as_view(), name="trials"),
]
