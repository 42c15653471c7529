"""What an operator does about a cluster that is lost, and about orphans: on the database itself.

Both work while no server answers, and end workloads of every team.
"""

from __future__ import annotations

from collections.abc import Sequence

import typer

from events.rollout import outgoing
from functions.cli.connection import PlatformReference, open_store
from functions.cli.errors import CommandFailed, complain
from functions.cli.operator import operator
from functions.cli.options import Format, platform_of
from functions.cli.publishing import event_about, publish
from functions.cli.views import lost_clusters as views
from functions.cli.views.printing import print_data, print_ids, print_table
from shared.eventing.event import WireEvent
from shared.models.actor import Actor
from shared.operations import clusters, lost_cluster, orphans
from shared.operations.lost_cluster import Fate, LossOutcome, LostWorkload
from shared.store.unit_of_work import Store


def declare_lost(context: typer.Context, name: str, workloads: str, output: Format) -> None:
    """Ends the workloads of a cluster; they `fail` or are to `reschedule`.

    Raises CommandFailed when one that should run elsewhere cannot be placed.
    """
    fate = Fate(workloads)
    platform = platform_of(context)
    with open_store(platform) as store:
        with store.begin() as work:
            lost_cluster.declare_lost(work, name, fate, operator())
        ended = _end_workloads(store, platform, name, fate, operator())
    if output is Format.TABLE:
        print_table(views.LOSS_HEADER, [views.loss_cells(one) for one in ended])
    else:
        print_data({"name": name, "state": "lost", "workloads": [views.loss_as_json(one) for one in ended]}, output)
    _complain_of_failures(ended, fate)


def list_orphans(context: typer.Context, name: str | None, limit: int, output: Format) -> None:
    """Shows orphans, as the last sweep found them."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        found = orphans.list_orphans(work, name, limit + 1)
        now = work.now
    if output is Format.TABLE:
        print_table(views.ORPHAN_HEADER, [views.orphan_cells(one, now) for one in found[:limit]])
    else:
        print_data([views.orphan_as_json(one) for one in found[:limit]], output)
    if len(found) > limit:
        complain(f"only the first {limit} are shown; see the rest with --limit")


def remove_orphans(context: typer.Context, name: str, objects: Sequence[str] | None, output: Format) -> None:
    """Has orphans deleted; None means all of the cluster."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        chosen = orphans.request_removal(work, name, objects, operator())
    print_ids([{"id": orphans.full_name(one), "cluster": one.cluster} for one in chosen], output)


def _end_workloads(
    store: Store, platform: PlatformReference, name: str, fate: Fate, actor: Actor
) -> list[LostWorkload]:
    ended: list[LostWorkload] = []
    planned: lost_cluster.Planned = {}
    after = clusters.FIRST_ID
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
