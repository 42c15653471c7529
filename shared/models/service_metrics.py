"""PromQL that a workload names, by which Sentinel reads how it serves its users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import AfterValidator, StringConstraints, model_validator

from shared.models.fields import Wire, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_QUERY: Final = 1000
"""Characters. A parser's time grows with the square of what it is given."""

NAMESPACE_LABELS: Final = ("namespace", "k8s_namespace_name", "namespace_name", "destination_workload_namespace")

PromQl = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUERY), AfterValidator(printable)]


class ServiceMetrics(Wire):
    """PromQL, each with one number as its answer. `{namespace}` and `{name}` stand for those of the workload.

    Requests and errors are rates a second, over 5 minutes at best: Sentinel asks once a minute. Errors are requests
    that have failed. Latencies are in seconds. up: 1 while the workload serves its users, 0 while it does not.
    """

    requests_per_second: PromQl | None = None
    errors_per_second: PromQl | None = None
    latency_p50_seconds: PromQl | None = None
    latency_p95_seconds: PromQl | None = None
    latency_p99_seconds: PromQl | None = None
    up: PromQl | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(query for _, query in self):
            raise ValueError("name at least one query, such as requestsPerSecond, or leave metrics out")
        if self.errors_per_second is not None and self.requests_per_second is None:
            raise ValueError("errorsPerSecond needs requestsPerSecond: a success rate is the share of both")
        return self

    def queries(self, namespace: str, name: str) -> dict[str, str]:
        """The PromQL of a workload by the field's name, in their order."""
        given = {field: query for field, query in self if query is not None}
        return {field: _of(query, namespace, name) for field, query in given.items()}

    def check(self, namespace: str, name: str) -> None:
        """Raises ValueError, with the field, for what is no PromQL, or reads series of other namespaces.

        Prometheus shows Sentinel the series of every team. So each selector must be held to the workload's namespace.
        """
        for field, query in self.queries(namespace, name).items():
            alias = type(self).model_fields[field].alias
            try:
                _check(query, namespace)
            except ValueError as error:
                raise ValueError(f"metrics.{alias}: {error}") from None


def _of(query: str, namespace: str, name: str) -> str:
    for placeholder, value in (("{namespace}", namespace), ("{name}", name)):
        query = query.replace(placeholder, value.replace("\\", "\\\\").replace('"', '\\"'))
    return query


def _check(query: str, namespace: str) -> None:
    import promql_parser  # few workloads name any

    try:
        tree = promql_parser.parse(query)
    except ValueError as error:
        raise ValueError(f"is no PromQL: {error}") from None
    if isinstance(tree, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        raise ValueError("gives values of a time, and no number: use rate(...) or another function")
    selectors = list(_selectors(tree))
    if not selectors:
        raise ValueError("reads no metric")
    for selector in selectors:
        matchers = selector.matchers
        held = any(
            one.op == promql_parser.MatchOp.Equal and one.name in NAMESPACE_LABELS and one.value == namespace
            for one in matchers.matchers
        )
        if not held or matchers.or_matchers:
            named = f"{selector.name or 'a selector without a name'}"
            raise ValueError(f'{named[:100]} must be held to the workload\'s namespace: {{namespace="{{namespace}}"}}')


def _selectors(tree: Any) -> Iterator[Any]:
    """Every selector of a tree. The parser's own walk takes seconds for a hundred operators."""
    import promql_parser as promql

    match tree:
        case promql.VectorSelector():
            yield tree
        case promql.MatrixSelector():
            yield tree.vector_selector
        case promql.BinaryExpr():
            yield from _selectors(tree.lhs)
            yield from _selectors(tree.rhs)
        case promql.AggregateExpr():
            yield from _selectors(tree.expr)
            if tree.param is not None:
                yield from _selectors(tree.param)
        case promql.Call():
            for argument in tree.args:
                yield from _selectors(argument)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _selectors(tree.expr)
        case promql.NumberLiteral() | promql.StringLiteral():
            return
        case _:
            raise ValueError(f"has a part that is not known here: {type(tree).__name__}")
