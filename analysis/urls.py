"""The report's pages, for staff."""

from django.urls import path

from analysis import views

app_name = "analysis"
urlpatterns = [
    path("", views.report_list, name="list"),
    # No study's slug has a dot.
    path("plan.html", views.plan_page, name="plan"),
    path("plan.csv", views.plan_csv, name="plan-csv"),
    path("plan.json", views.plan_status, name="plan-status"),
    path("<slug:slug>/", views.report_page, name="report"),
    path("<slug:slug>/answers.csv", views.answers_csv, name="answers"),
    path("<slug:slug>/report.json", views.report_json, name="json"),
    path("<slug:slug>/status.json", views.report_status, name="status"),
    path("<slug:slug>/image/<int:pair>/<str:side>.png", views.pair_image, name="image"),
]
