"""The pages of the runs, for staff."""

from django.urls import path

from generation import views

app_name = "runs"
urlpatterns = [
    path("", views.run_list, name="list"),
    path("<slug:name>/", views.wall, name="wall"),
    # No pair's index has a dot.
    path("<slug:name>/pairs.html", views.more_pairs, name="more"),
    path("<slug:name>/classifiers/<str:file>", views.classifier_file, name="classifiers"),
    path("<slug:name>/<int:pair>/", views.pair_page, name="pair"),
    path("<slug:name>/<int:pair>/<slug:arm>.png", views.image, name="image"),
    path("<slug:name>/<int:pair>/pictures/<slug:picture>.png", views.picture, name="picture"),
]
