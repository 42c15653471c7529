"""`sentinel policy add|list|show|enable|disable|schema`: the documents that plans are held against.

Every change is one transaction with its audit row and a policy.changed event: what waits in the queue is looked at
again when a policy changes.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import typer
from pydantic import JsonValue

from events.policy import PolicyChanged
from functions.cli.connection import Platform, open_store
from functions.cli.documents import read_models
from functions.cli.errors import BadInput, CommandFailed, complain, printable
from functions.cli.operator import login, operator
from functions.cli.options import Format
from functions.cli.publishing import event_about, publish
from functions.cli.views.printing import Cell, Style, moment, print_data, print_table
from shared.eventing.event import WireEvent
from shared.policy.documents import PolicyDocument
from shared.policy.policy_set import StoredPolicy
from shared.policy.vocabulary import Mode
from shared.store import outbox
from shared.store.policies import PolicyChange
from shared.store.unit_of_work import Store, UnitOfWork

_HEADER = ("NAME", "PRIORITY", "MODE", "ENABLED", "VERSION", "RULES", "VALID", "PROBLEM")
_LONGEST_AUTHOR = 253
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def add(platform: Platform, files: Sequence[str], author: str | None) -> None:
    """Adds every policy in the files, or none when one is bad; one of the same name is replaced. Raises BadInput."""
    documents = read_candidates(files)
    who = _author(author)
    with open_store(platform) as store:
        events: list[WireEvent] = []
        told: list[str] = []
        with store.begin() as work:
            for document in documents:
                stored = work.policies.put(document, who)
                if stored is None:
                    told.append(f"{document.name} unchanged")
                    continue
                change = PolicyChange.ADDED if stored.version == 1 else PolicyChange.REPLACED
                events.append(_changed(work, stored, change, who))
                told.append(f"{document.name} {change}, version {stored.version}")
            outbox.add(work.connection, events)
        _tell(store, platform, told, events)


def switch(platform: Platform, name: str, author: str | None, *, enabled: bool) -> None:
    """Puts a policy into force or takes it out. Raises CommandFailed for one that is not there.

    One that cannot be read can be taken out of force, but not put into it.
    """
    change = PolicyChange.ENABLED if enabled else PolicyChange.DISABLED
    who = _author(author)
    with open_store(platform) as store:
        with store.begin() as work:
            try:
                stored = work.policies.switch(name, who, enabled=enabled)
            except KeyError:
                raise _not_there(work, name) from None
            events = [] if stored is None else [_changed(work, stored, change, who)]
            outbox.add(work.connection, events)
        told = f"{name} unchanged" if stored is None else f"{name} {change}, version {stored.version}"
        _tell(store, platform, [told], events)


def show_all(platform: Platform, form: Format) -> None:
    """Prints the policies by name. One that can no longer be read says so, and whether it denies."""
    with open_store(platform) as store, store.begin() as work:
        policies = work.policies.all()
        now = work.now
    if form is Format.TABLE:
        print_table(_HEADER, [_cells(policy, now) for policy in policies])
    else:
        print_data([_view(policy) for policy in policies], form)


def show(platform: Platform, name: str, form: Format) -> None:
    """Prints one policy. What comes after the table can be added again, as can the JSON and the YAML.

    One that cannot be read is printed as it is stored, to be mended, and the problem on stderr.
    """
    with open_store(platform) as store, store.begin() as work:
        policy = work.policies.get(name)
        if policy is None:
            raise _not_there(work, name)
        newest = work.policies.history(name)[-1]
        now = work.now
    if policy.document is None:
        complain(f"policy {name} {_problem(policy)}")
    document = _document(policy)
    if form is not Format.TABLE:
        print_data(document, form)
        return
    print_table(_HEADER, [_cells(policy, now)])
    typer.echo(f"\n# {newest.change} by {printable(newest.author)} at {moment(newest.changed_at)}")
    print_data(document, Format.YAML)


def schema() -> None:
    """Prints the JSON Schema of policy documents, for editors and for checks before a commit."""
    typer.echo(json.dumps({"$schema": _DIALECT, **PolicyDocument.model_json_schema()}, indent=2))


def read_candidates(files: Sequence[str]) -> list[PolicyDocument]:
    """The policies in the files, each name once. Raises BadInput that names every bad field of all."""
    documents = read_models(files, PolicyDocument)
    counts = Counter(policy.name for _, policy in documents)
    repeats = [f"{where}: policy {p.name} is in there twice" for where, p in documents if counts[p.name] > 1]
    if repeats:
        raise BadInput("\n".join(repeats))
    return [policy for _, policy in documents]


def _author(given: str | None) -> str:
    """Who changes a policy, for the history."""
    if given is None:
        return login()
    if not given.strip() or len(given) > _LONGEST_AUTHOR:
        raise BadInput(f"--author must have 1 to {_LONGEST_AUTHOR} characters")
    return given.strip()


def _changed(work: UnitOfWork, stored: StoredPolicy, change: PolicyChange, author: str) -> WireEvent:
    """Audits a change, and tells it."""
    subject = f"policy/{stored.name}"
    work.audit(
        f"policy.{change}", subject, operator(), version=stored.version, author=author, document=_document(stored)
    )
    data = PolicyChanged(name=stored.name, version=stored.version, change=change, author=author)
    return event_about(subject, data, work.now)


def _tell(store: Store, platform: Platform, told: Sequence[str], events: Sequence[WireEvent]) -> None:
    for line in told:
        typer.echo(line)
    if events:
        publish(store, platform, events)


def _not_there(work: UnitOfWork, name: str) -> CommandFailed:
    stored = work.policies.get(name)
    if stored is None:
        return CommandFailed(f"there is no policy {name[:80]}: see `sentinel policy list`")
    return CommandFailed(f"policy {name} {_problem(stored)}; replace it with `sentinel policy add`")


def _problem(policy: StoredPolicy) -> str:
    """Why a policy cannot be read, and what that means."""
    meaning = "denies every plan that takes something" if policy.enabled else "is disabled"
    return f"cannot be read and {meaning}: {policy.problem}"


def _cells(policy: StoredPolicy, now: datetime) -> tuple[Cell, ...]:
    document = policy.document
    enabled: Cell = "yes" if policy.enabled else ("no", Style.BAD)
    if document is None:
        return (policy.name, "", "", enabled, str(policy.version), "", "", (_problem(policy), Style.BAD))
    rules = ",".join([rule.type for rule in document.rules] + ["deny_unmatched"] * document.deny_unmatched)
    return (
        policy.name,
        str(document.priority),
        (document.mode, Style.GOOD if document.mode is Mode.ENFORCE else Style.BUSY),
        enabled,
        str(policy.version),
        rules,
        _validity(document, now),
        "",
    )


def _validity(document: PolicyDocument, now: datetime) -> Cell:
    """ "FROM..UNTIL", either end open; red when that is not now."""
    if document.valid_from is None and document.valid_until is None:
        return "always"
    begins, ends = moment(document.valid_from) or "", moment(document.valid_until) or ""
    valid = (document.valid_from is None or document.valid_from <= now) and (
        document.valid_until is None or now < document.valid_until
    )
    return f"{begins}..{ends}", Style.PLAIN if valid else Style.BAD


def _view(policy: StoredPolicy) -> dict[str, JsonValue]:
    if policy.document is None:
        return {"name": policy.name, "enabled": policy.enabled, "problem": policy.problem}
    return _document(policy)


def _document(policy: StoredPolicy) -> dict[str, JsonValue]:
    """What can be added again; of one that cannot be read, what is stored."""
    if policy.document is None:
        return dict(policy.unread)
    document: dict[str, JsonValue] = policy.document.model_dump(mode="json", by_alias=True, exclude_none=True)
    return document
