"""Where each address leads."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("report/", include("analysis.urls")),
    path("", include("survey.urls")),
]
