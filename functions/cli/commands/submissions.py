"""`sentinel submit` and `sentinel remove`: what a user wants, as events for intake."""

from collections import Counter
from collections.abc import Sequence

from events.workload import WorkloadSubmitted, WorkloadWithdrawn
from functions.cli import waiting
from functions.cli.commands.workloads import Reference, find_one, label
from functions.cli.connection import Platform, open_store
from functions.cli.documents import read_models
from functions.cli.errors import BadInput, complain
from functions.cli.options import Format
from functions.cli.publishing import event_about, publish
from functions.cli.views.printing import print_ids
from functions.cli.waiting import Wish
from shared.models.lifecycle import Phase
from shared.models.stored import Workload
from shared.store import outbox
from shared.store.unit_of_work import Store, UnitOfWork

MAX_BYTES = 900_000
"""The largest submission: an event has to fit into 1 MiB, with its attributes and what brokers add to them."""


def submit(platform: Platform, files: Sequence[str], patience: float | None, form: Format) -> None:
    """Submits every workload in the files, or none when one is bad; prints their ids, in order."""
    documents = read_models(files, WorkloadSubmitted)
    _refuse_repeats(documents)
    with open_store(platform) as store:
        with store.begin() as work:
            wishes = [_submission(where, spec, work) for where, spec in documents]
            outbox.add(work.connection, [wish.event for wish in wishes])
        _send(store, platform, wishes, patience, form)


def remove(platform: Platform, reference: Reference, patience: float | None, form: Format) -> None:
    """Withdraws one workload and prints its id. One that is removed already is left alone."""
    with open_store(platform) as store:
        with store.begin() as work:
            workload = find_one(work, reference)
            if workload.withdrawn and workload.phase is Phase.REMOVED:
                complain(f"{label(workload)} is removed already")
                _print([], form)
                return
            wish = _withdrawal(workload, work)
            outbox.add(work.connection, [wish.event])
        _send(store, platform, [wish], patience, form)


def _send(store: Store, platform: Platform, wishes: Sequence[Wish], patience: float | None, form: Format) -> None:
    _print(wishes, form)
    publish(store, platform, [wish.event for wish in wishes])
    if patience is not None:
        waiting.follow(store, wishes, patience)


def _print(wishes: Sequence[Wish], form: Format) -> None:
    """Ids alone, a line each; programs are also told which workload and which event each is of."""
    print_ids(
        [
            {"id": str(wish.workload_id), "workload": wish.label, "eventId": wish.event.attributes["id"]}
            for wish in wishes
        ],
        form,
    )


def _submission(where: str, spec: WorkloadSubmitted, work: UnitOfWork) -> Wish:
    event = event_about(spec.id, spec, work.now)
    if len(event.body) > MAX_BYTES:
        raise BadInput(f"{where}: has {len(event.body)} bytes as an event; at most {MAX_BYTES} fit into one")
    return Wish(spec.id, _named(spec), event, waiting.RUNS)


def _withdrawal(workload: Workload, work: UnitOfWork) -> Wish:
    spec = workload.spec
    data = WorkloadWithdrawn(name=spec.name, team=spec.team, namespace=spec.namespace)
    return Wish(workload.id, label(workload), event_about(workload.id, data, work.now), waiting.GONE)


def _refuse_repeats(documents: Sequence[tuple[str, WorkloadSubmitted]]) -> None:
    """Events are not ordered, so which of two wishes for one workload would be the later one is anybody's guess."""
    counts = Counter(_named(spec) for _, spec in documents)
    repeats = [f"{where}: {_named(spec)} is in there twice" for where, spec in documents if counts[_named(spec)] > 1]
    if repeats:
        raise BadInput("\n".join(repeats))


def _named(spec: WorkloadSubmitted) -> str:
    return f"{spec.team}/{spec.namespace}/{spec.name}"
