"""What the commands of this room share."""

from django.core.management.base import CommandError

from survey.models import Study


def find_study(slug: str) -> Study:
    """Return the study, or raise CommandError naming those that exist."""
    try:
        return Study.objects.get(slug=slug)
    except Study.DoesNotExist as error:
        slugs = list(Study.objects.values_list("slug", flat=True)[:20])
        known = f"there are: {', '.join(slugs)}" if slugs else "there is none yet; create_study makes one"
        message = f"no study is called {slug!r}; {known}"
        raise CommandError(message) from error
