"""The audit log for readers: pages that pass over nothing, filters, teams, and exports that show what was cut."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.errors import ConfigurationError, OperationRefused
from shared.models.audit import AuditFilter, AuditPosition, AuditRow
from shared.models.changes import changes
from shared.models.page import Page, PageRequest
from shared.operations import audit_export
from shared.store.unit_of_work import Store
from tests.support.builders import INTAKE, SUBMITTED, TESTS, Deliver, id_of, submission

ALL = AuditFilter()


def write(store: Store, *actions: str, subject: str = "w", **detail: str) -> None:
    for action in actions:
        with store.begin() as work:
            work.audit(action, subject, TESTS, **detail)


def following(store: Store, after: AuditPosition | None, wanted: AuditFilter = ALL, limit: int = 100) -> list[AuditRow]:
    with store.read() as work:
        return work.audit_log.following(wanted, after, limit)


def page(
    store: Store, wanted: AuditFilter = ALL, limit: int = 100, after: tuple[Any, ...] | None = None
) -> Page[AuditRow]:
    with store.read() as work:
        return work.audit_log.page(wanted, PageRequest(limit, "time", True, after))


def newest(store: Store, wanted: AuditFilter = ALL) -> list[str]:
    return [row.action for row in page(store, wanted).items]


def actions(rows: list[AuditRow]) -> list[str]:
    return [row.action for row in rows]


def test_a_transaction_that_began_first_and_commits_last_is_passed_over_by_nobody(store: Store) -> None:
    with store.begin() as early:
        early.audit("early", "a", TESTS)
        early.write_audits()
        write(store, "late", subject="b")
        seen = following(store, None)
        assert actions(seen) == []  # what is behind an open transaction waits for it
    seen = following(store, None)
    assert actions(seen) == ["early", "late"]
    assert following(store, seen[-1].position) == []


def test_a_reader_that_goes_on_sees_every_row_once_in_the_order_of_commits(store: Store) -> None:
    seen: list[str] = []
    position = None

    def read() -> None:
        nonlocal position
        while rows := following(store, position, limit=2):
            seen.extend(actions(rows))
            position = rows[-1].position

    with store.begin() as first:
        first.audit("1", "a", TESTS)
        first.write_audits()
        with store.begin() as second:
            second.audit("2", "b", TESTS)
            second.audit("2", "c", TESTS)
        read()
        assert seen == []
    read()
    write(store, "3", "4")
    read()
    assert seen == ["1", "2", "2", "3", "4"]


def test_rows_are_found_by_what_they_are_about_who_did_it_what_and_when(store: Store) -> None:
    write(store, "made", "changed")
    write(store, "made", subject="x")
    [first, *_] = following(store, None)
    assert newest(store, AuditFilter(subject="w")) == ["changed", "made"]
    assert newest(store, AuditFilter(action="made", subject="x")) == ["made"]
    assert newest(store, AuditFilter(actor="user:nobody")) == []
    assert newest(store, AuditFilter(actor=str(TESTS), since=first.position.recorded_at)) == ["made", "changed", "made"]
    assert newest(store, AuditFilter(until=first.position.recorded_at)) == []
    assert newest(store, AuditFilter(since=first.position.recorded_at + timedelta(days=1))) == []


def test_pages_go_on_before_the_last_row_while_others_write(store: Store) -> None:
    write(store, "1", "2", "3")
    first = page(store, limit=2)
    write(store, "4")
    rest = page(store, limit=2, after=first.next)
    assert [actions(list(one.items)) for one in (first, rest)] == [["3", "2"], ["1"]]
    assert rest.next is None


def test_a_row_is_its_workloads_teams_or_the_one_that_it_names(store: Store, deliver: Deliver) -> None:
    deliver.submit("chat")
    write(store, "bound", team="ads")
    write(store, "of nobody")
    assert newest(store, AuditFilter(teams=["search"])) == ["plan.proposed"]
    assert newest(store, AuditFilter(teams=["ads"])) == ["bound"]
    assert newest(store, AuditFilter(teams=[])) == []
    assert newest(store, AuditFilter(workloads=True)) == ["plan.proposed"]


def test_a_row_names_the_event_that_led_to_it_and_what_it_changed(store: Store, deliver: Deliver) -> None:
    deliver.submit("chat")
    deliver(
        INTAKE, SUBMITTED, submission("chat", image="nginx:1.30", env={"TOKEN": "s3cret"}), source="/ci", event_id="e-7"
    )
    last = page(store, AuditFilter(subject=str(id_of("chat")))).items[0]
    assert last.detail["event"] == {"source": "/ci", "id": "e-7"}
    changed = {one["field"]: one for one in last.detail["changes"]["changed"]}
    assert (changed["image"]["before"], changed["image"]["after"]) == ("nginx:1.29", "nginx:1.30")
    assert changed["env"] == {"field": "env"}
    assert last.detail["changes"]["before"] != last.detail["changes"]["after"]
    assert "s3cret" not in str(last.detail)


def test_changes_hide_what_may_be_secret_wherever_it_stands() -> None:
    found = changes({"a": 1, "x": {"args": ["p"]}}, {"a": 2, "x": {"args": ["q"]}, "l": [{"env": "s"}]})
    assert found["changed"] == [
        {"field": "a", "before": 1, "after": 2},
        {"field": "l", "before": None, "after": [{"env": "…"}]},
        {"field": "x.args"},
    ]
    assert changes({}, {"a": "x" * 1000})["changed"] == [{"field": "a", "before": None, "after": "x" * 500 + "…"}]
    new = changes(None, {"a": 1})
    assert (new["before"], new["changed"]) == (None, [])


# Exports -------------------------------------------------------------------------------------------------------------

KEY = Ed25519PrivateKey.generate()


def tamper(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount > 0


def verified(store: Store, exported: dict[str, object]) -> list[str]:
    with store.read() as work:
        return audit_export.verify(work, exported, KEY.public_key())


@pytest.fixture
def exported(store: Store) -> dict[str, object]:
    write(store, "1", "2", "3")
    with store.read() as work:
        *lines, last = list(audit_export.export(work, KEY))
    assert [line["sequence"] for line in lines] == [1, 2, 3]
    return dict(last)


def test_a_log_that_grew_since_is_whole(store: Store, exported: dict[str, object]) -> None:
    write(store, "4")
    assert verified(store, exported) == []


def test_a_log_that_was_cut_shows_against_an_export_alone(
    store: Store, owner_engine: sa.Engine, exported: dict[str, object]
) -> None:
    tamper(owner_engine, "DELETE FROM audit_log WHERE sequence = 3")
    with store.read() as work:
        assert audit_export.verify(work) == []
    assert [problem.partition(": ")[2] for problem in verified(store, exported)] == [
        "row 3, which was exported, is missing: the chain was cut"
    ]


def test_a_log_that_was_written_anew_shows_against_an_export(
    store: Store, owner_engine: sa.Engine, exported: dict[str, object]
) -> None:
    tamper(owner_engine, "DELETE FROM audit_log")
    write(store, "1", "2", "forged")
    with store.read() as work:
        assert audit_export.verify(work) == []
    assert [problem.partition(": ")[2] for problem in verified(store, exported)] == [
        "row 3 is not the one that was exported"
    ]


def test_heads_that_were_changed_or_signed_by_another_are_refused(store: Store, exported: dict[str, object]) -> None:
    with store.read() as work:
        for forged in ({**exported, "heads": []}, {**exported, "at": "2026-01-01"}):
            with pytest.raises(OperationRefused, match="not signed with this key"):
                audit_export.verify(work, forged)
        with pytest.raises(OperationRefused, match="not signed with this key"):
            audit_export.verify(work, exported, Ed25519PrivateKey.generate().public_key())
        with pytest.raises(OperationRefused, match="is not what an export"):
            audit_export.verify(work, {"shard": 1})


@pytest.mark.parametrize("field", ["shard", "sequence"])
@pytest.mark.parametrize("number", [-1, 10**30, float("inf")])
def test_heads_of_rows_that_cannot_be_are_refused_whoever_signed_them(
    store: Store, field: str, number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = {"shard": 1, "sequence": 1, "hash": "00", field: number}
    monkeypatch.setattr(audit_export, "_head", lambda _: head)
    write(store, "1")
    with store.read() as work:
        forged = audit_export.signed_heads(work, KEY)
        with pytest.raises(OperationRefused, match="is not what an export"):
            audit_export.verify(work, forged)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    audit_export.make_key(file)
    content = file.read_bytes()
    audit_export.make_key(file)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (content, 0o600)
    assert audit_export.private_key(file)
    file.write_text("x")
    with pytest.raises(ConfigurationError, match="is no private key in PEM"):
        audit_export.private_key(file)
