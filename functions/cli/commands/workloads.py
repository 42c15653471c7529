"""`sentinel get`: workloads as they stand, and how other commands find the one that was named."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import typer
from pydantic import JsonValue

from functions.cli.commands.simulation import suggestion_view
from functions.cli.connection import Platform, open_store
from functions.cli.errors import CommandFailed, complain
from functions.cli.options import Format
from functions.cli.views.printing import Cell, Style, age, print_data, print_table
from shared.models.lifecycle import GOOD_PHASES, Phase
from shared.models.stored import Workload
from shared.store.simulation import Simulation
from shared.store.unit_of_work import UnitOfWork

_HEADER = (
    *("NAME", "TEAM", "NAMESPACE", "TYPE", "PHASE", "GENERATION", "REVISION"),
    *("REPLICAS", "GPUS", "USD/H", "CLUSTER", "AGE"),
)
_BAD = (Phase.DENIED, Phase.DEGRADED, Phase.UNHEALTHY, Phase.ROLLED_BACK, Phase.FAILED)
_QUIET = (Phase.REMOVED,)
_FEW = 5  # how many workloads a message lists


@dataclass(frozen=True)
class Reference:
    """A workload as a user names it: by id, or by name within a team and a namespace (None: any)."""

    text: str
    team: str | None
    namespace: str | None

    @property
    def id(self) -> uuid.UUID | None:
        try:
            return uuid.UUID(self.text)
        except ValueError:
            return None


def get(
    platform: Platform, team: str | None, namespace: str | None, phase: Phase | None, limit: int, form: Format
) -> None:
    """Prints every workload that fits, in the order of team, namespace and name."""
    with open_store(platform) as store, store.begin() as work:
        found = work.workloads.find(team=team, namespace=namespace, phase=phase, limit=limit + 1)
        now = work.now
    shown = found[:limit]
    if form is Format.TABLE:
        print_table(_HEADER, [_cells(workload, now) for workload in shown])
    else:
        print_data([workload.as_json() for workload in shown], form)
    if len(found) > limit:
        complain(f"only the first {limit} are shown; see the rest with --limit, or narrow with --team or --phase")


def get_one(platform: Platform, reference: Reference, form: Format) -> None:
    """Prints one workload with everything that is known of it; of a denied one, also what would pass instead.

    That is judged on today's facts: those of its decision say nothing of other clusters and SKUs.
    """
    with open_store(platform) as store, store.read() as work:
        workload = find_one(work, reference)
        now = work.now
        denied = work.plans.get(workload.plan_id) if workload.phase is Phase.DENIED else None
        instead = [] if denied is None else Simulation(work).instead(denied, workload)
    if form is not Format.TABLE:
        more: dict[str, JsonValue] = {} if denied is None else {"wouldPass": [suggestion_view(one) for one in instead]}
        print_data(workload.as_json(spec=True) | more, form)
        return
    print_table(("ID", *_HEADER, "REASON"), [(str(workload.id), *_cells(workload, now), workload.reason)])
    if denied is not None:
        typer.echo("")
        told = [one.message for one in instead] or ["nothing that was tried: neither less, nor elsewhere, nor later"]
        print_table(("WOULD PASS ON TODAY'S FACTS",), [(message,) for message in told])


def find_one(work: UnitOfWork, reference: Reference) -> Workload:
    """The workload that is meant. Raises CommandFailed when there is none, or when the name fits several."""
    name, team, namespace = reference.text, reference.team, reference.namespace
    if reference.id is not None:
        found = [w for w in [work.workloads.get(reference.id)] if w is not None]
    else:
        found = work.workloads.find(name=name, team=team, namespace=namespace, limit=_FEW + 1)
    if len(found) > 1:
        raise CommandFailed(f"{name} may mean {_listed(found)}: give --team and --namespace, or the id")
    if not found:
        others = work.workloads.find(name=name, limit=_FEW + 1)
        hint = f"; of that name there is {_listed(others)}" if others else ""
        where = f" in team {team}" * (team is not None) + f" in namespace {namespace}" * (namespace is not None)
        raise CommandFailed(f"there is no workload {name}{where}{hint}")
    return found[0]


def label(workload: Workload) -> str:
    """team/namespace/name."""
    return f"{workload.spec.team}/{workload.spec.namespace}/{workload.spec.name}"


def _listed(workloads: list[Workload]) -> str:
    some = ", ".join(f"{label(w)} ({w.id})" for w in workloads[:_FEW])
    return f"{some} and more" if len(workloads) > _FEW else some


def phase_style(phase: Phase) -> Style:
    """Green for what runs as wanted, red for what does not, yellow for what is on its way."""
    if phase in GOOD_PHASES:
        return Style.GOOD
    if phase in _BAD:
        return Style.BAD
    return Style.PLAIN if phase in _QUIET else Style.BUSY


def _cells(workload: Workload, now: datetime) -> tuple[Cell, ...]:
    spec = workload.spec
    return (
        spec.name,
        spec.team,
        spec.namespace,
        spec.type,
        (workload.phase, phase_style(workload.phase)),
        str(workload.generation),
        str(workload.revision),
        str(spec.replicas),
        str(spec.replicas * spec.resources.gpu.count),
        f"{workload.usd_per_replica_hour * spec.replicas:.2f}",
        workload.cluster,
        age(workload.created_at, now),
    )
