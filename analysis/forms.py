"""What the planning page asks for."""

import hashlib
import json

from django import forms
from django.core.validators import RegexValidator

NUMBERS = RegexValidator(
    r"^\s*\d{1,5}(\s*,\s*\d{1,5}){0,7}\s*$", "Write up to eight whole numbers, such as 50,100,200."
)


class PlanForm(forms.Form):
    """A study to plan; every field has plan_study's default."""

    share = forms.FloatField(label="Share for the preferred arm", min_value=0.01, max_value=0.99, initial=0.55)
    tie_rate = forms.FloatField(label="Share of “Same”", min_value=0, max_value=0.95, initial=0.27)
    pair_sd = forms.FloatField(label="Spread of pairs (logit)", min_value=0, max_value=5, initial=1.07)
    rater_sd = forms.FloatField(label="Spread of raters (logit)", min_value=0, max_value=5, initial=0.3)
    pairs = forms.CharField(label="Numbers of pairs", max_length=80, initial="50,100,200,400", validators=[NUMBERS])
    raters = forms.CharField(label="Numbers of raters", max_length=80, initial="10,20,40,80", validators=[NUMBERS])

    def command(self) -> list[str]:
        """Return plan_study's arguments for the cleaned form."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in self.cleaned_data.items()]
        return ["plan_study", *flags, f"--store={self.key()}"]

    def key(self) -> str:
        """Return the key of the cleaned form's computation."""
        text = json.dumps(self.cleaned_data, sort_keys=True)
        return "plan:" + hashlib.sha256(text.encode()).hexdigest()[:32]
