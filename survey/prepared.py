"""Queries whose SQL is written once per process, and run with other values each time.

Django writes a query's SQL anew whenever it runs: most of an answer's time went there, many times what the database
takes. Here a query is made of the ORM's own parts, with a `Parameter` in place of each value. The ORM writes it when it
first runs, for the database that is there, and rows become what the ORM makes of them. That is worth it for what runs
at each answer; anything else is plainer without.

    NAMED = Select(lambda: Rater.objects.filter(token=Parameter("token", Rater, "token")).only("id"))
    [rater] = NAMED(token="...")
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.constants import OnConflict
from django.db.models.query import get_related_populators
from django.db.models.sql import InsertQuery, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

Row = Sequence[Any]
Queryset = QuerySet[Any, Any]


class Parameter(Expression):
    """Stands in a query for a value that is given when it runs."""

    def __init__(self, name: str, model: type[Model], field: str = "") -> None:
        """Name it; the values are those of a model's column, by default of the parameter's own name."""
        column = model._meta.get_field(field or name)  # noqa: SLF001 (Django's documented API)
        if not isinstance(column, Field):
            raise TypeError(f"{model.__name__}.{column.name} is no column")
        super().__init__(output_field=column)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ANN401, ARG002
        """Return a placeholder and, as its value, this parameter."""
        return "%s", [self]


@dataclass(frozen=True)
class Statement:
    """SQL for one kind of database.

    Attributes:
        sql: As Django's cursors take it.
        values: Its values in their order, parameters among them.
        make: What becomes of a row.
    """

    sql: str
    values: tuple[Any, ...]
    make: Callable[[Row], Any] = tuple

    @cached_property
    def _named(self) -> list[tuple[str, Any]]:
        """For each value the parameter's name and what prepares it for the database; no name, and the value itself."""
        return [
            (value.name, value.output_field.get_db_prep_save) if isinstance(value, Parameter) else ("", value)
            for value in self.values
        ]

    def run(self, cursor: CursorWrapper, given: Mapping[str, Any]) -> None:
        """Run with these values of the parameters; raise KeyError if one is missing."""
        database = cursor.db  # found once: `connection` looks it up each time
        values = [prepare(given[name], database) if name else prepare for name, prepare in self._named]
        cursor.execute(self.sql, values)


@contextmanager
def _cursor() -> Iterator[CursorWrapper]:
    """Give a cursor; on PostgreSQL one that sends values beside the SQL, planned once for each connection then.

    Django's own writes the values into the SQL: planning it anew each time took the server longer than running it.
    """
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            yield cursor
        return
    from django.db.backends.postgresql.base import ServerBindingCursor  # noqa: PLC0415 (SQLite needs no psycopg)

    connection.close_if_health_check_failed()
    connection.ensure_connection()
    plain = ServerBindingCursor(connection.connection)  # type: ignore[call-arg]  # which the stubs take for psycopg 2's
    with connection._prepare_cursor(plain) as cursor:  # type: ignore[attr-defined]  # noqa: SLF001
        yield cursor


class Prepared(ABC):
    """A query that is written when it first runs, for each kind of database once."""

    def __init__(self) -> None:
        self._statements: dict[str, Statement] = {}

    @abstractmethod
    def write(self) -> Statement:
        """Return the query as SQL for the database that is there."""

    @property
    def statement(self) -> Statement:
        """The query as SQL."""
        statement = self._statements.get(connection.vendor)
        if statement is None:
            statement = self._statements[connection.vendor] = self.write()
        return statement


class Select(Prepared):
    """A query that reads."""

    def __init__(self, build: Callable[[], Queryset]) -> None:
        """Take what makes its queryset: of models, some columns or all, or of tuples by `values_list`."""
        super().__init__()
        self._build = build

    def write(self) -> Statement:
        """Return the query, and what makes models or tuples of its rows."""
        queryset = self._build()
        compiler = queryset.query.get_compiler(connection=connection)
        sql, values = compiler.as_sql()
        make = _converting(compiler, tuple if queryset.query.values_select else _modelling(compiler))
        return Statement(sql, tuple(values), make)

    def __call__(self, **given: Any) -> list[Any]:  # noqa: ANN401 (as the fields)
        """Return what the queryset would with these values of its parameters."""
        statement = self.statement
        with _cursor() as cursor:
            statement.run(cursor, given)
            return [statement.make(row) for row in cursor.fetchall()]


def _converting(compiler: SQLCompiler, make: Callable[[Row], Any]) -> Callable[[Row], Any]:
    """Return what makes something of a row once its values are those of Python's types."""
    found = compiler.get_converters([column for column, _, _ in compiler.select])
    steps = [(place, functions, column) for place, (functions, column) in found.items()]

    def convert(row: Row) -> Any:  # noqa: ANN401 (as `make`)
        values = list(row)
        for place, functions, column in steps:
            for function in functions:
                values[place] = function(values[place], column, connection)
        return make(values)

    return convert if steps else make


def _modelling(compiler: SQLCompiler) -> Callable[[Row], Model]:
    """Return what makes a model of a row, with those that `select_related` names."""
    model, places = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    columns = slice(places[0], places[-1] + 1)
    names = [column.target.attname for column, _, _ in compiler.select[columns]]
    related = get_related_populators(  # type: ignore[call-arg]  # which is Django 6's
        compiler.klass_info, compiler.select, DEFAULT_DB_ALIAS
    )

    def make(row: Row) -> Model:
        made: Model = model.from_db(DEFAULT_DB_ALIAS, names, row[columns])
        for populator in related:
            populator.populate(row, made)
        return made

    return make


class Update(Prepared):
    """A change of the rows that fulfil a condition, as one statement."""

    def __init__(self, build: Callable[[], Queryset], **changes: Any) -> None:  # noqa: ANN401 (as the fields)
        """Take what makes the queryset of those rows, and the changes as `QuerySet.update` takes them."""
        super().__init__()
        self._build = build
        self._changes = changes

    def write(self) -> Statement:
        """Return the change as SQL."""
        query: UpdateQuery = self._build().query.chain(UpdateQuery)  # type: ignore[assignment]
        query.add_update_values(self._changes)
        sql, values = query.get_compiler(connection=connection).as_sql()
        return Statement(sql, tuple(values))

    def __call__(self, **given: Any) -> int:  # noqa: ANN401 (as the fields)
        """Return how many rows were changed."""
        with _cursor() as cursor:
            self.statement.run(cursor, given)
            return int(cursor.rowcount)


ModelT = TypeVar("ModelT", bound=Model)


class Insert(Prepared, Generic[ModelT]):
    """A new row of a model, or a new version of the row that is there."""

    def __init__(self, model: type[ModelT], *, unique: Sequence[str] = ()) -> None:
        """Take the model and, if a row may be there already, the columns by which it is known; the others change."""
        super().__init__()
        self._model = model
        self._unique = unique
        self._fields = [field for field in model._meta.concrete_fields if not field.primary_key]  # noqa: SLF001

    def write(self) -> Statement:
        """Return the insertion as SQL, which gives the row's key where the database can."""
        query = self._query()
        names = [field.attname for field in self._fields]
        blank = self._model(**{name: Parameter(name, self._model) for name in names})
        query.insert_values(self._fields, [blank])
        compiler = query.get_compiler(connection=connection)
        compiler.returning_fields = [self._model._meta.pk]  # noqa: SLF001
        [(sql, values)] = compiler.as_sql()
        if not all(isinstance(value, Parameter) for value in values):
            raise TypeError(f"{self._model.__name__} has fields that set themselves when stored: store it by `save`")
        return Statement(sql, tuple(values))

    def _query(self) -> InsertQuery:
        if not self._unique:
            return InsertQuery(self._model)
        return InsertQuery(
            self._model,
            on_conflict=OnConflict.UPDATE,
            update_fields=[field for field in self._fields if field.name not in self._unique],
            unique_fields=[field for field in self._fields if field.name in self._unique],
        )

    def __call__(self, row: ModelT) -> ModelT:
        """Store an instance, and return it with its key; no signal is sent."""
        with _cursor() as cursor:
            self.statement.run(cursor, vars(row))
            if connection.features.can_return_columns_from_insert:
                [row.pk] = cursor.fetchone()
            else:
                row.pk = connection.ops.last_insert_id(cursor, row._meta.db_table, str(row._meta.pk.column))  # noqa: SLF001
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 (documented too)
        return row
