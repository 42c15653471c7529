"""`sentinel policy simulate`: what policy would decide on a workload now, and what would pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.cli.documents import read_models
from functions.cli.errors import BadInput, CommandFailed, ProblemAnswer, complain
from functions.cli.options import Format
from functions.cli.views.decisions import print_outlooks
from functions.cli.views.printing import print_data
from shared.models.workload import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from functions.cli.client import Client


def simulate(client: Client, files: Sequence[str], output: Format) -> None:
    """Prints the decisions. Raises CommandFailed when no cluster would approve one of the workloads, and BadInput."""
    simulated = [_simulated(client, where, spec) for where, spec in read_models(files, WorkloadSpec)]
    rows: list[dict[str, JsonValue]] = [
        {"workload": one["workload"], "id": one["id"], **outlook} for one in simulated for outlook in one["outlooks"]
    ]
    if output is Format.TABLE:
        print_outlooks(rows)
    else:
        print_data([*rows], output)
    for one in simulated:
        if one["unchanged"]:
            complain(f"{one['workload']}: is at this generation already; nothing would be done")
    rejected = [f"{one['workload']}: would be rejected: {one['rejection']}" for one in simulated if one["rejection"]]
    hopeless = [f"{one['workload']}: no cluster would approve it" for one in simulated if _is_hopeless(one)]
    if rejected or hopeless:
        raise CommandFailed("\n".join([*rejected, *hopeless]))


def _simulated(client: Client, where: str, spec: WorkloadSpec) -> Any:
    document = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    try:
        return client.send("POST", "/policies/simulate", document).document
    except ProblemAnswer as problem:
        said = "\n".join(f"{where}: {line}" for line in str(problem).splitlines())
        raise (BadInput if problem.status in (400, 422) else CommandFailed)(said) from None


def _is_hopeless(simulated: Any) -> bool:
    outlooks = simulated["outlooks"]
    return bool(outlooks) and all(one["outcome"] != "approved" for one in outlooks)
