"""`sentinel cluster`: which clusters there are. Their credentials are files that only functions read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from functions.cli.connection import Platform, open_store
from functions.cli.errors import BadInput
from functions.cli.operator import operator
from functions.cli.options import Format
from functions.cli.views.printing import print_data, print_table
from shared.eventing.processing import describe
from shared.models.cluster import Cluster
from shared.models.gpu import normalise_sku
from shared.models.workload import DnsLabel, LabelKey, LabelValue, Text, Wire


class _Registration(Wire):
    """A cluster as it is typed in: counts are text."""

    name: DnsLabel
    labels: dict[LabelKey, LabelValue]
    gpus: dict[Text, Annotated[int, Field(ge=0, le=1_000_000)]] | None


def add(platform: Platform, name: str, labels: Sequence[str], gpus: Sequence[str]) -> None:
    """Registers a cluster, or replaces what is known of it; without `gpus` its capacity is unknown. Raises BadInput."""
    counts = _pairs("--gpus", gpus, normalise_sku)
    try:
        cluster = _Registration.model_validate(
            {"name": name, "labels": _pairs("--label", labels), "gpus": counts or None}
        )
    except ValidationError as error:
        raise BadInput(describe(error)) from None
    with open_store(platform) as store, store.begin() as work:
        work.catalogue.register_cluster(Cluster(cluster.name, cluster.labels, cluster.gpus))
        subject = f"cluster/{cluster.name}"
        work.audit("cluster.registered", subject, operator(), **cluster.model_dump(mode="json", exclude={"name"}))


def show_all(platform: Platform, form: Format) -> None:
    """Prints the clusters by name."""
    with open_store(platform) as store, store.begin() as work:
        clusters = work.catalogue.clusters()
    if form is Format.TABLE:
        rows = [(one.name, _joined(one.labels), _joined(one.gpus)) for one in clusters]
        print_table(("NAME", "LABELS", "GPUS"), rows)
        return
    print_data([_view(one) for one in clusters], form)


def _view(cluster: Cluster) -> dict[str, JsonValue]:
    gpus = None if cluster.gpus is None else dict[str, JsonValue](cluster.gpus)
    return {"name": cluster.name, "labels": dict(cluster.labels), "gpus": gpus}


def _pairs(option: str, texts: Sequence[str], spelled: Callable[[str], str] = str) -> dict[str, str]:
    """By name, as it is `spelled`. Raises BadInput, also for two spellings of one name."""
    pairs: dict[str, str] = {}
    for text in texts:
        given, equals, value = text.partition("=")
        if not (given and equals):
            raise BadInput(f"{option} must be NAME=VALUE, not {text[:80]!r}")
        if (name := spelled(given)) in pairs:
            raise BadInput(f"{option} gives {name} twice")
        pairs[name] = value
    return pairs


def _joined(values: Mapping[str, object] | None) -> str:
    return "unknown" if values is None else ",".join(f"{name}={value}" for name, value in sorted(values.items()))
