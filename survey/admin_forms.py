"""The admin's form for making a study, or changing a draft."""

from typing import TYPE_CHECKING, Any

from django import forms

from generation.selectors import run_names

from .errors import SurveyError
from .models import Study
from .plans import DEFINITION
from .services import create_study, update_study

if TYPE_CHECKING:
    ModelForm = forms.ModelForm
else:

    class ModelForm(forms.ModelForm):
        """A ModelForm that takes a type argument at run time too."""

        def __class_getitem__(cls, _: Any) -> type:  # noqa: ANN401
            return cls


class StudyForm(ModelForm[Study]):
    """A study's definition; what it cannot be is told by the same rules as on the command line."""

    class Meta:
        model = Study
        fields = DEFINITION

    def definition(self) -> dict[str, Any]:
        """Return what the form says of the study."""
        given = {name: self.cleaned_data[name] for name in DEFINITION if name in self.cleaned_data}
        return given | {"rules": given.get("rules") or {}}

    def _post_clean(self) -> None:
        """Leave the checks to the service, which is told of everything at once."""


class NewStudyForm(StudyForm):
    """A new study: its name in addresses and whose pairs it shows."""

    slug = forms.SlugField(max_length=80, help_text="The study's name in its address.")
    pairs_name = forms.ChoiceField(label="Pairs", help_text="The name given to generate_pairs or import_pairs.")
    compare = forms.CharField(
        required=False, help_text="Two arms to compare, such as robust:vanilla; several with spaces. Empty: every two."
    )
    opened = forms.BooleanField(
        required=False, label="Open it now", help_text="Opening freezes all this; a draft can still be changed."
    )

    field_order = ["slug", "pairs_name", "compare", "opened", *DEFINITION]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Django's signature)
        super().__init__(*args, **kwargs)
        pairs = self.fields["pairs_name"]
        if isinstance(pairs, forms.ChoiceField):
            pairs.choices = [(name, name) for name in run_names()]

    def clean_compare(self) -> list[tuple[str, str]] | None:
        """Return the comparisons; None for every two arms."""
        words = self.cleaned_data["compare"].split()
        for word in words:
            if word.count(":") != 1 or word.startswith(":") or word.endswith(":"):
                raise forms.ValidationError(f"'{word}' is not two arms such as robust:vanilla")
        return [tuple(word.split(":")) for word in words] or None

    def create(self) -> Study | None:
        """Make the study; None, with the error on the form, if it cannot be made."""
        data = self.cleaned_data
        try:
            return create_study(
                slug=data["slug"],
                pairs_name=data["pairs_name"],
                comparisons=data["compare"],
                opened=data["opened"],
                **self.definition(),
            )
        except SurveyError as error:
            self.add_error(None, str(error))
            return None


class DraftForm(StudyForm):
    """A draft's definition."""

    def update(self) -> Study | None:
        """Change the draft; None, with the error on the form, if it cannot be so."""
        try:
            return update_study(study=Study.objects.get(pk=self.instance.pk), **self.definition())
        except SurveyError as error:
            self.add_error(None, str(error))
            return None
