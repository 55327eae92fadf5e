"""The rater's pages."""

from django.urls import path, re_path

from . import views

app_name = "survey"
urlpatterns = [
    path("", views.home, name="home"),
    path("s/<slug:slug>/", views.landing, name="landing"),
    path("s/<slug:slug>/consent/", views.consent, name="consent"),
    path("s/<slug:slug>/trial/", views.trial, name="trial"),
    path("s/<slug:slug>/thanks/", views.thanks, name="thanks"),
    re_path(
        r"^s/(?P<slug>[-\w]+)/image/(?P<token>[-\w]{1,32})/(?P<side>left|right)\.png$",
        views.image,
        name="image",
    ),
]
