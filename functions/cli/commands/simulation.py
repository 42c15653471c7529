"""`sentinel policy simulate`: what policy would decide on a workload now, and what would pass."""

from __future__ import annotations

import typer

from functions.cli.connection import open_store
from functions.cli.documents import read_models
from functions.cli.errors import CommandFailed, complain
from functions.cli.options import Files, Format, Output, platform_of
from functions.cli.views.decisions import outlook_as_json, print_simulation
from functions.cli.views.printing import print_data
from shared.models.workload import WorkloadSpec
from shared.operations import simulate as operations


def simulate(context: typer.Context, file: Files, output: Output = Format.TABLE) -> None:
    """Show what policy would decide on workloads now, on every cluster that could take them. Leaves no trace.

    Each workload is decided as if it were posted alone. Exits with 0 when some cluster would approve each of them,
    with 1 otherwise.
    """
    specs = [spec for _, spec in read_models(file, WorkloadSpec)]
    with open_store(platform_of(context)) as store, store.read() as work:
        simulated = operations.simulate(work, specs)
    if output is Format.TABLE:
        print_simulation(simulated)
    else:
        print_data([outlook_as_json(one.spec, outlook) for one in simulated for outlook in one.outlooks], output)
    for one in simulated:
        if one.unchanged:
            complain(f"{one.spec.full_name}: is at this generation already; nothing would be done")
    rejected = [f"{one.spec.full_name}: would be rejected: {one.rejection}" for one in simulated if one.rejection]
    hopeless = [f"{one.spec.full_name}: no cluster would approve it" for one in simulated if one.hopeless]
    if rejected or hopeless:
        raise CommandFailed("\n".join([*rejected, *hopeless]))
