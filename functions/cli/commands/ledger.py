"""`sentinel ledger check`: whether the books are right, by Sentinel's own record and by what clusters run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from pydantic import JsonValue

from functions.cli.connection import open_store
from functions.cli.errors import CommandFailed, complain
from functions.cli.operator import operator
from functions.cli.options import PLAIN, Format, Output, platform_of
from functions.cli.views.printing import Cell, Style, print_data, print_table
from shared.clusters.directory import ClusterDirectory
from shared.errors import ClusterRefused, ClusterUnavailable
from shared.models.amounts import NOTHING, Amounts
from shared.models.deployment import Deployment
from shared.models.lifecycle import RevisionStatus
from shared.models.quantities import format_bytes, format_millicores
from shared.rollout.accounts import Account
from shared.store import repair
from shared.store.repair import Report
from shared.store.rows import amounts_to_json
from shared.store.unit_of_work import Store

app = typer.Typer(help="What workloads hold, and whether the ledger is right.", **PLAIN)

_HEADER = ("WHAT", "WHO", "CLUSTER", "SKU", "LEDGER", "EXPECTED", "WHY")
_LATELY = timedelta(days=7)
_LOOKS = 3
_Key = tuple[uuid.UUID, str]  # workload and cluster
_SETTLED = (RevisionStatus.HEALTHY, RevisionStatus.DEGRADED)


@dataclass(frozen=True)
class Finding:
    """One thing that differs; `expected` is None where only the cluster can be mended."""

    what: str
    who: str
    cluster: str
    sku: str
    ledger: Amounts
    expected: Amounts | None
    why: str


@dataclass(frozen=True)
class _Standing:
    """A revision to look for on its cluster, and how many replicas its workload holds there."""

    label: str
    revision: Deployment
    replicas: int
    live: bool

    @property
    def said(self) -> tuple[uuid.UUID, RevisionStatus, int]:
        """What the books say that a cluster is held against."""
        return self.revision.id, self.revision.status, self.replicas


@app.command()
def check(
    context: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what differs, one workload a transaction.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Compare the ledger with what Sentinel's revisions say and, where kubeconfigs are at hand, with the clusters.

    Kubeconfigs are those in CLUSTERS_DIR, or of the platform in its state directory. Nothing is ever changed on a
    cluster. Exits with 1 when anything differs that was not repaired.
    """
    platform = platform_of(context)
    with open_store(platform) as store:
        with store.read() as work:
            report = left = repair.compare(work)
        if fix and report:
            repair.mend(store, report, operator())
            with store.read() as work:
                left = repair.compare(work)
        found = list(_in_the_books(report))
        if platform.clusters is None:
            complain("clusters were not compared: set CLUSTERS_DIR to the directory of their kubeconfigs")
        else:
            found += _on_clusters(ClusterDirectory(platform.clusters), store)
    if output is Format.TABLE:
        print_table(_HEADER, [_cells(one) for one in found])
    else:
        print_data([_view(one) for one in found], output)
    _conclude(report, left, [one for one in found if one.expected is None], fix)


def _conclude(report: Report, left: Report, on_clusters: Sequence[Finding], fix: bool) -> None:
    if fix and report and not left:
        complain("the ledger was repaired")
    elif fix and left:
        raise CommandFailed("the ledger still differs, or differs again: look once more with `sentinel ledger check`")
    elif left:
        raise CommandFailed("the ledger differs; mend it with `sentinel ledger check --fix`")
    if on_clusters:
        raise CommandFailed("clusters run something else than the ledger says; see `sentinel trace` of the workload")


def _in_the_books(report: Report) -> Iterator[Finding]:
    for one in report.workloads:
        line = one.line
        amount = "more" if line.expected.within(line.held) else "less"
        why = f"holds {amount} than its revisions and plans take"
        yield Finding("reservation", one.label, line.cluster, line.sku, line.held, line.expected, why)
    for stray in report.strays:
        held = stray.reservation
        for sku, amounts in sorted(held.lines.items()):
            why = "there is no such workload"
            yield Finding("reservation", str(held.workload_id), held.cluster, sku, amounts, NOTHING, why)
    for wrong in report.usage:
        why = "is not the sum of its reservations"
        yield Finding("usage", f"team {wrong.team}", wrong.cluster, wrong.sku, wrong.counted, wrong.reserved, why)


def _standing(store: Store) -> dict[_Key, _Standing]:
    """What to look for on clusters: what is live, and what ended lately and may have left pods behind."""
    found: dict[_Key, _Standing] = {}
    with store.read() as work:
        for account in repair.accounts(work):
            newest = {revision.cluster: revision for revision in account.live}
            for cluster, revision in sorted(newest.items()):
                standing = _Standing(account.label, revision, _replicas(account, cluster), live=True)
                found[account.workload_id, cluster] = standing
        ended = work.deployments.newest_ended(work.now - _LATELY)
        workloads = work.workloads.get_many([revision.workload_id for revision in ended])
        for revision in ended:
            spec = workloads[revision.workload_id].spec
            held = work.ledger.reserved(revision.workload_id, revision.cluster)
            replicas = sum(amounts.replicas for amounts in held.values())
            standing = _Standing(f"{spec.team}/{spec.namespace}/{spec.name}", revision, replicas, live=False)
            found[revision.workload_id, revision.cluster] = standing
    return found


def _replicas(account: Account, cluster: str) -> int:
    return sum(amounts.replicas for amounts in account.held.get(cluster, {}).values())


def _on_clusters(clusters: ClusterDirectory, store: Store) -> list[Finding]:
    """Pods that nothing is held for, and what is held for nothing. A cluster that is away is not asked again.

    The chain goes on meanwhile, so a difference counts where the books say the same after the look as before it. Where
    they do not, it is looked at again.
    """
    away: set[str] = set()
    found: list[Finding] = []
    standing = _standing(store)
    for _ in range(_LOOKS):
        differing = {key: finding for key, one in standing.items() if (finding := _compared(clusters, one, away))}
        if not differing:
            return found
        now = _standing(store)
        same = {key for key in differing if key in now and now[key].said == standing[key].said}
        found += [finding for key, finding in differing.items() if key in same]
        standing = {key: now[key] for key in differing if key in now and key not in same}
    for one in standing.values():
        complain(f"{one.label}: not compared: it changed with every look")
    return found


def _compared(clusters: ClusterDirectory, one: _Standing, away: set[str]) -> Finding | None:
    """How what a cluster runs of one workload differs from the books; a cluster that does not answer joins `away`."""
    revision = one.revision
    if revision.cluster in away:
        return None
    try:
        seen = clusters.driver(revision.cluster).observe(revision.reference, str(revision.workload_id))
    except ClusterUnavailable as error:
        away.add(revision.cluster)
        complain(f"not compared: {error}")
        return None
    except ClusterRefused as error:
        complain(f"{one.label}: not compared: {error}")
        return None
    if seen.occupying > one.replicas:
        why = f"{seen.occupying} pods hold resources; {one.replicas} replicas are reserved"
    elif one.live and seen.gone and revision.status in _SETTLED and one.replicas:
        why = f"nothing is left of what {one.replicas} replicas are reserved for; verification proposes it again"
    else:
        return None
    held = Amounts(replicas=one.replicas)
    return Finding("cluster", one.label, revision.cluster, revision.sku, held, None, why)


def _cells(one: Finding) -> tuple[Cell, ...]:
    expected = "" if one.expected is None else _amounts(one.expected)
    return (one.what, one.who, one.cluster, one.sku, (_amounts(one.ledger), Style.BAD), expected, one.why)


def _amounts(amounts: Amounts) -> str:
    """Without spaces, so that a line's columns can be told apart."""
    told = {
        "replicas": amounts.replicas and str(amounts.replicas),
        "cpu": amounts.cpu and format_millicores(amounts.cpu),
        "memory": amounts.memory and format_bytes(amounts.memory),
        "gpus": amounts.gpus and str(amounts.gpus),
        "usd/h": amounts.usd_per_hour and f"{amounts.usd_per_hour:f}",
    }
    return ",".join(f"{name}={value}" for name, value in told.items() if value) or "nothing"


def _view(one: Finding) -> dict[str, JsonValue]:
    return {
        "what": one.what,
        "who": one.who,
        "cluster": one.cluster,
        "sku": one.sku,
        "ledger": _amounts_view(one.ledger),
        "expected": None if one.expected is None else _amounts_view(one.expected),
        "why": one.why,
    }


def _amounts_view(amounts: Amounts) -> dict[str, JsonValue]:
    told = amounts_to_json(amounts)
    return {"usdPerHour": told.pop("usd_per_hour"), **told}
