"""Where each address leads."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("report/", include("analysis.urls")),
    path("runs/", include("generation.urls")),
    path("api/v1/", include("survey.api.urls")),
    path("", include("survey.urls")),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.page_not_found"
handler500 = "config.errors.server_error"
