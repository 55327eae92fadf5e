"""The API of staff's scripts: studies, pairs, progress and exports, by token. It reads; the rater's API writes."""

from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import exceptions, generics, pagination, permissions, serializers
from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from survey import exports
from survey.models import Pair, Study
from survey.monitoring import dashboard
from survey.selectors import answers_total, plan_of, study_by_slug


class Pages(pagination.PageNumberPagination):
    """Fifty rows at a time; `?page=2&page_size=500`, a thousand at most."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 1000


class StudySerializer(serializers.ModelSerializer[Study]):
    """A study's definition, its frozen plan and its answers so far."""

    arms = serializers.SerializerMethodField()
    plan_sha256 = serializers.SerializerMethodField()
    answers = serializers.SerializerMethodField()

    class Meta:
        model = Study
        fields = [
            "slug",
            "title",
            "status",
            "question",
            "arms",
            "pairs_per_rater",
            "raters_per_pair",
            "practice_trials",
            "same_catches",
            "noise_catches",
            "repeats",
            "access",
            "panel",
            "created_at",
            "plan_sha256",
            "answers",
        ]

    def get_arms(self, study: Study) -> list[str]:
        """Return the arms' names."""
        return [arm.name for arm in study.arms.all()]

    def get_plan_sha256(self, study: Study) -> str | None:
        """Return the frozen plan's digest; null of a draft."""
        plan = plan_of(study)
        return plan.sha256 if plan else None

    def get_answers(self, study: Study) -> int:
        """Return the real raters' ordinary answers."""
        return answers_total(study)


class PairSerializer(serializers.ModelSerializer[Pair]):
    """A pair with its arms and how often it is served."""

    first_arm = serializers.CharField(source="first_arm.name")
    second_arm = serializers.CharField(source="second_arm.name")
    served = serializers.SerializerMethodField()

    class Meta:
        model = Pair
        fields = ["index", "class_name", "first_arm", "second_arm", "width", "height", "served"]

    @extend_schema_field(OpenApiTypes.INT)
    def get_served(self, pair: Any) -> int:  # noqa: ANN401 (prefetched)
        """Return its answers and live leases of real raters."""
        return next((row.served for row in pair.balances.all() if not row.simulated), 0)


class ProgressSerializer(serializers.Serializer[Any]):
    """How far a study is; nothing of preferences."""

    raters = serializers.IntegerField()
    finished = serializers.IntegerField()
    screened_out = serializers.IntegerField()
    withdrawn = serializers.IntegerField()
    answers = serializers.IntegerField()
    wanted = serializers.IntegerField(allow_null=True)
    median_ms = serializers.FloatField(allow_null=True)
    left_share = serializers.FloatField(allow_null=True)
    same_share = serializers.FloatField(allow_null=True)
    faults = serializers.IntegerField()
    set_aside = serializers.IntegerField()
    simulated = serializers.IntegerField()


@method_decorator(never_cache, name="dispatch")
class StaffView(APIView):
    """For staff, by `Authorization: Token KEY` or signed in."""

    authentication_classes = [TokenAuthentication, SessionAuthentication]
    permission_classes = [permissions.IsAdminUser]


class StudiesView(StaffView, generics.ListAPIView[Study]):
    """GET all studies, page by page."""

    serializer_class = StudySerializer
    pagination_class = Pages
    queryset = Study.objects.prefetch_related("arms").order_by("slug")


class StudyView(StaffView):
    """GET one study."""

    @extend_schema(responses=StudySerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return a study's definition, arms, state and plan's sha256."""
        return Response(StudySerializer(study_by_slug(slug)).data)


class PairsView(StaffView, generics.ListAPIView[Pair]):
    """GET a study's pairs with their arms and how often each is served, page by page."""

    serializer_class = PairSerializer
    pagination_class = Pages
    queryset = Pair.objects.none()

    def get_queryset(self) -> Any:  # noqa: ANN401 (REST framework's own type is narrower)
        """Return them by index."""
        study = study_by_slug(self.kwargs["slug"])
        pairs = study.pairs.select_related("first_arm", "second_arm").prefetch_related("balances")
        return pairs.order_by("index", "pk")


class ProgressView(StaffView):
    """GET how far a study is."""

    @extend_schema(responses=ProgressSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return how far a study is: raters, answers, flags and faults; nothing of preferences."""
        return Response(ProgressSerializer(dashboard(study_by_slug(slug))).data)


class ExportView(StaffView):
    """GET a study's answers, trials or exposures as a file, streamed."""

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, slug: str, table: str, file_format: str) -> HttpResponse | StreamingHttpResponse:
        """Send the file; `?raters=simulated` has the simulated raters and them alone, `?kinds=all` every kind."""
        if table not in exports.TABLES or file_format not in exports.FORMATS:
            raise exceptions.NotFound(f"there is {', '.join(exports.TABLES)} as {', '.join(exports.FORMATS)}")
        study = study_by_slug(slug)
        data = exports.rows(
            study,
            table,
            simulated=request.query_params.get("raters") == "simulated",
            every_kind=request.query_params.get("kinds") == "all",
        )
        name = f"{study.slug}-{table}.{file_format}"
        return StreamingHttpResponse(
            exports.pieces(table, data, file_format=file_format),
            content_type=exports.CONTENT_TYPES[file_format],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def export_schema(request: HttpRequest) -> HttpResponse:
    """Show what each column of each export means."""
    return render(request, "survey/export_schema.html", {"tables": exports.TABLES, "formats": exports.FORMATS})


def reference(request: HttpRequest) -> HttpResponse:
    """Show the API's operations; the machine-readable schema lies beside."""
    from drf_spectacular.generators import SchemaGenerator  # noqa: PLC0415 (slow to load, seldom asked for)

    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return render(request, "survey/api_reference.html", {"operations": operations, "info": schema["info"]})
