"""`sentinel ledger check`: whether the ledger is right, by Sentinel's own records and by what clusters run."""

from __future__ import annotations

from typing import Annotated

import typer

from functions.cli.connection import open_store
from functions.cli.errors import CommandFailed, complain
from functions.cli.operator import operator
from functions.cli.options import PLAIN, Format, Output, platform_of
from functions.cli.views import ledger as views
from functions.cli.views.printing import print_data, print_table
from shared.clusters.directory import ClusterDirectory
from shared.operations import cluster_check, ledger_check
from shared.operations.cluster_check import ClusterReport
from shared.operations.ledger_check import LedgerReport
from shared.settings import insecure_clusters

app = typer.Typer(help="What workloads hold, and whether the ledger is right.", **PLAIN)


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
    on_clusters = ClusterReport([], [])
    with open_store(platform) as store:
        with store.read() as work:
            report = remaining = ledger_check.check(work)
        if fix and report:
            ledger_check.repair(store, report, operator())
            with store.read() as work:
                remaining = ledger_check.check(work)
        if platform.clusters is None:
            complain("clusters were not compared: set CLUSTERS_DIR to the directory of their kubeconfigs")
        else:
            on_clusters = cluster_check.check(
                store, ClusterDirectory(platform.clusters, insecure_clusters(), loopback=True)
            )
    for note in on_clusters.notes:
        complain(note)
    found = [*views.of_ledger(report), *views.of_clusters(on_clusters)]
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(one) for one in found])
    else:
        print_data([views.as_json(one) for one in found], output)
    _conclude(report, remaining, on_clusters, fix)


def _conclude(report: LedgerReport, remaining: LedgerReport, on_clusters: ClusterReport, fix: bool) -> None:
    if fix and report and not remaining:
        complain("the ledger was repaired")
    elif fix and remaining:
        raise CommandFailed("the ledger still differs, or differs again: look once more with `sentinel ledger check`")
    elif remaining:
        raise CommandFailed("the ledger differs; repair it with `sentinel ledger check --fix`")
    if on_clusters.discrepancies:
        raise CommandFailed("clusters run something else than the ledger says; see `sentinel trace` of the workload")
