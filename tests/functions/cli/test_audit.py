"""`sentinel audit`: verify and export, on a log that is whole, changed, cut."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared.operations import audit_export
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel
from tests.support.builders import TESTS


@pytest.fixture
def key(tmp_path: Path) -> Path:
    audit_export.make_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.fixture
def written(store: Store) -> Store:
    for number in range(3):
        with store.begin() as work:
            work.audit("tested", "w", TESTS, number=number)
    return store


def test_an_export_is_json_lines_with_signed_heads_that_verify(
    sentinel: Sentinel, written: Store, key: Path, tmp_path: Path, owner_engine: sa.Engine
) -> None:
    exported = sentinel("audit", "export", "--key", str(key))
    assert exported.code == 0
    *lines, heads = [json.loads(line) for line in exported.out.splitlines()]
    assert [json.loads(line["body"])["number"] for line in lines] == [0, 1, 2]
    file = tmp_path / "export.jsonl"
    file.write_text(exported.out)
    assert sentinel("audit", "verify", "--heads", str(file), "--public-key", heads["publicKey"]).code == 0
    with owner_engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM audit_log WHERE sequence = 3"))
    assert sentinel("audit", "verify").out == "the audit log is whole\n"
    cut = sentinel("audit", "verify", "--heads", str(file))
    assert (cut.code, "which was exported, is missing" in cut.out) == (1, True)


def test_what_is_wrong_is_listed_and_fails(sentinel: Sentinel, written: Store, owner_engine: sa.Engine) -> None:
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE audit_log SET actor = 'user:mallory' WHERE sequence = 2"))
    ran = sentinel("audit", "verify")
    assert (ran.code, ran.err) == (1, "sentinel: the audit log is not what was written: 1 problems\n")
    assert "row 2 was changed" in ran.out


def test_a_mistake_is_named(sentinel: Sentinel, written: Store, tmp_path: Path) -> None:
    (tmp_path / "heads").write_text("not json\n")
    assert sentinel("audit", "verify", "--public-key", "x").code == 2
    assert "the last line is not JSON" in sentinel("audit", "verify", "--heads", str(tmp_path / "heads")).err
    assert "set AUDIT_SIGNING_KEY" in sentinel("audit", "export").err
