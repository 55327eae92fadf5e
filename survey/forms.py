"""What the rater's pages send without JavaScript."""

from django import forms


class ResponseForm(forms.Form):
    """The trial page's form: which trial, which button and, where a script measured it, how long it took."""

    trial = forms.CharField(max_length=32)
    choice = forms.CharField(max_length=20)
    response_ms = forms.IntegerField(required=False)
    key = forms.CharField(max_length=64, required=False)
    revises = forms.BooleanField(required=False)

    def first_error(self) -> str:
        """Return one line on the first field that is wrong."""
        field, texts = next(iter(self.errors.items()))
        return f"{field}: {texts[0]}"
