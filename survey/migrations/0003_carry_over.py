"""Give what was there before its counters: trials their state, raters and pairs their counts, studies their keys."""

import random

from django.db import migrations
from django.db.models import Count, Q

from survey.models.tokens import make_token


def carry_over(apps, schema_editor):
    study_model, rater_model, trial_model, balance_model = (
        apps.get_model("survey", name) for name in ("Study", "Rater", "Trial", "Balance")
    )
    trial_model.objects.filter(response__isnull=False).update(state="answered")
    trial_model.objects.filter(response__isnull=True).update(state="stale")
    for study in study_model.objects.all():
        study_model.objects.filter(pk=study.pk).update(panel_key=make_token(), practice_trials=0)
        for simulated in (False, True):
            answered = Q(trials__state="answered", trials__rater__simulated=simulated)
            pairs = study.pairs.annotate(
                served=Count("trials", filter=answered),
                on_left=Count("trials", filter=answered & Q(trials__first_is_left=True)),
            )
            balance_model.objects.bulk_create(
                [
                    balance_model(
                        study=study,
                        pair=pair,
                        simulated=simulated,
                        served=pair.served,
                        left_surplus=2 * pair.on_left - pair.served,
                        lot=random.SystemRandom().getrandbits(31),
                    )
                    for pair in pairs
                ],
                batch_size=1000,
            )
    left = Q(trials__first_is_left=True)
    raters = rater_model.objects.annotate(
        total=Count("trials"), answered=Count("trials__response"), on_left=Count("trials", filter=left)
    )
    for rater in raters.iterator(chunk_size=1000):
        rater_model.objects.filter(pk=rater.pk).update(
            link_token=make_token(),
            wanted=rater.total,
            issued=rater.total,
            issued_ordinary=rater.total,
            planned=rater.total,
            done=rater.answered,
            left_surplus=2 * rater.on_left - rater.total,
        )


class Migration(migrations.Migration):
    dependencies = [("survey", "0002_definition_balance_and_ledger")]

    operations = [migrations.RunPython(carry_over, migrations.RunPython.noop)]
