"""Personal links are unique once each rater has one."""

from django.db import migrations, models

import survey.models.tokens


class Migration(migrations.Migration):
    dependencies = [("survey", "0003_carry_over")]

    operations = [
        migrations.AlterField(
            model_name="rater",
            name="link_token",
            field=models.CharField(
                default=survey.models.tokens.make_token, help_text="Of the personal link.", max_length=32, unique=True
            ),
        ),
    ]
