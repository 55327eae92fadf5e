"""Where each address leads."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView

# Asked for by browsers on pages that name no icon, the admin's among them. Its file's hashed name is known late.
icon = RedirectView.as_view(url=lazy(static, str)("survey/icon.svg"))

urlpatterns = [
    path("admin/", admin.site.urls),
    path("report/", include("analysis.urls")),
    path("runs/", include("generation.urls")),
    path("api/v1/", include("survey.api.urls")),
    path("favicon.ico", icon),
    path("", include("survey.urls")),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.page_not_found"
handler500 = "config.errors.server_error"
