"""`sentinel cluster`: which clusters there are, and what an operator says of them.

Their credentials are files that only functions read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from pydantic import Field, ValidationError

from events.rollout import outgoing
from functions.cli.connection import PlatformReference, open_store
from functions.cli.errors import BadInput, CommandFailed, complain
from functions.cli.operator import operator
from functions.cli.options import PLAIN, Format, Limit, Output, platform_of
from functions.cli.publishing import event_about, publish
from functions.cli.views import clusters as views
from functions.cli.views.printing import print_data, print_ids, print_table
from shared.eventing.event import WireEvent
from shared.eventing.processing import describe
from shared.models.actor import Actor
from shared.models.cluster import Cluster
from shared.models.fields import DnsLabel, LabelKey, LabelValue, Text, Wire
from shared.models.gpu import normalise_sku
from shared.operations import clusters as operations
from shared.operations import lost_cluster, orphans
from shared.operations.lost_cluster import Fate, LossOutcome, LostWorkload
from shared.store.unit_of_work import Store, UnitOfWork

app = typer.Typer(help="Clusters that workloads may be placed on.", **PLAIN)


Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered cluster's name.")]


class _Registration(Wire):
    """A cluster as it is typed in: counts are text."""

    name: DnsLabel
    labels: dict[LabelKey, LabelValue]
    gpus: dict[Text, Annotated[int, Field(ge=0, le=1_000_000)]] | None


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="As in the name of its kubeconfig in CLUSTERS_DIR.")],
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated.")] = None,
    gpus: Annotated[list[str] | None, typer.Option(metavar="SKU=COUNT", help="Its GPUs; may be repeated.")] = None,
) -> None:
    """Register a cluster, or replace what is known of it. Without --gpus its capacity is unknown."""
    counts = _pairs("--gpus", gpus or [], normalise_sku)
    try:
        registration = _Registration.model_validate(
            {"name": name, "labels": _pairs("--label", label or []), "gpus": counts or None}
        )
    except ValidationError as error:
        raise BadInput(describe(error)) from None
    cluster = Cluster(registration.name, registration.labels, registration.gpus)
    with open_store(platform_of(context)) as store, store.begin() as work:
        operations.register(work, cluster, operator())


@app.command("list")
def list_clusters(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the clusters, by name."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        clusters = operations.list_clusters(work)
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(views.as_json(cluster)) for cluster in clusters])
    else:
        print_data([views.as_json(cluster) for cluster in clusters], output)


@app.command()
def cordon(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Place no more workloads on a cluster. What runs there stays, and can be edited, scaled and removed.

    A plan that was proposed before goes on.
    """
    _say(context, name, output, operations.cordon, "is cordoned")


@app.command()
def uncordon(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Place workloads on a cluster again, also on one that was declared lost."""
    _say(context, name, output, operations.uncordon, "takes workloads")


@app.command()
def remove(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Forget a cluster that holds no workloads. Its prices stay, and its kubeconfig is yours to delete."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        operations.remove(work, name, operator())
    if output is not Format.TABLE:
        print_data({"name": name, "removed": True}, output)


@app.command("declare-lost")
def declare_lost(
    context: typer.Context,
    name: Name,
    workloads: Annotated[Fate, typer.Option(help="What becomes of its workloads: they fail, or are placed elsewhere.")],
    output: Output = Format.TABLE,
) -> None:
    """Say that a cluster, with all that runs there, does not come back.

    Its workloads fail, or are placed on other clusters where policy lets them, and what they held is released. Run it
    again when it was interrupted. Exits with 1 when a workload that should run elsewhere cannot be placed.
    """
    platform = platform_of(context)
    with open_store(platform) as store:
        with store.begin() as work:
            lost_cluster.declare_lost(work, name, workloads, operator())
        ended = _end_workloads(store, platform, name, workloads, operator())
    if output is Format.TABLE:
        print_table(views.LOSS_HEADER, [views.loss_cells(one) for one in ended])
    else:
        print_data({"name": name, "state": "lost", "workloads": [views.loss_as_json(one) for one in ended]}, output)
    _complain_of_failures(ended, workloads)


@app.command("orphans")
def list_orphans(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only of this cluster.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Show objects on clusters that are managed by Sentinel and that no workload owns, as the last sweep found them."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        found = orphans.list_orphans(work, name, limit + 1)
        now = work.now
    if output is Format.TABLE:
        print_table(views.ORPHAN_HEADER, [views.orphan_cells(one, now) for one in found[:limit]])
    else:
        print_data([views.orphan_as_json(one) for one in found[:limit]], output)
    if len(found) > limit:
        complain(f"only the first {limit} are shown; see the rest with --limit")


@app.command("remove-orphans")
def remove_orphans(
    context: typer.Context,
    name: Name,
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND/NAMESPACE/NAME]...", help="As `cluster orphans` shows them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All orphans of the cluster.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete orphans. The cluster's next sweep does it, within seconds, unless a workload has come to own them."""
    if bool(objects) is everything:
        raise BadInput("name orphans as `sentinel cluster orphans` shows them, or take all with --all")
    with open_store(platform_of(context)) as store, store.begin() as work:
        chosen = orphans.request_removal(work, name, None if everything else objects, operator())
    print_ids([{"id": orphans.full_name(one), "cluster": one.cluster} for one in chosen], output)


def _say(
    context: typer.Context,
    name: str,
    output: Format,
    change: Callable[[UnitOfWork, str, Actor], bool],
    state: str,
) -> None:
    with open_store(platform_of(context)) as store, store.begin() as work:
        changed = change(work, name, operator())
        cluster = operations.get_cluster(work, name)
    if not changed:
        complain(f"cluster {name} {state} already")
    if output is not Format.TABLE:
        print_data(views.as_json(cluster), output)


def _end_workloads(
    store: Store, platform: PlatformReference, name: str, fate: Fate, actor: Actor
) -> list[LostWorkload]:
    ended: list[LostWorkload] = []
    planned: lost_cluster.Planned = {}
    after = operations.FIRST_ID
    while True:
        with store.begin() as work:
            page = lost_cluster.end_page(work, name, fate, after, planned, actor)
            told = map(outgoing, page.results)
            events: list[WireEvent] = [event_about(one.subject, one.data, work.now) for one in told]
            work.add_to_outbox(events)
        if not page.workloads:
            return ended
        publish(store, platform, events)
        ended += page.workloads
        after = page.workloads[-1].id


def _complain_of_failures(ended: Sequence[LostWorkload], fate: Fate) -> None:
    bad = {LossOutcome.UNREADABLE} | ({LossOutcome.FAILED} if fate is Fate.RESCHEDULE else set())
    failed = [one for one in ended if one.outcome in bad]
    if failed:
        raise CommandFailed("\n".join(f"{one.label}: {one.reason}" for one in failed))


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
