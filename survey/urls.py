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
    path("s/<slug:slug>/pause/", views.pause, name="pause"),
    path("s/<slug:slug>/withdraw/", views.withdraw, name="withdraw"),
    re_path(r"^s/(?P<slug>[-\w]+)/me/(?P<link_token>[-\w]{1,32})/$", views.personal, name="personal"),
    re_path(
        r"^s/(?P<slug>[-\w]+)/image/(?P<token>[-\w]{1,32})/(?P<side>left|right)\.png$",
        views.image,
        name="image",
    ),
]
