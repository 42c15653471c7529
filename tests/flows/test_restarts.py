"""What was acknowledged survives SIGKILL of everything, at any moment, and is done exactly once."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
import sqlalchemy as sa

from shared.models.lifecycle import Phase
from shared.models.workload import workload_id
from shared.store import audit
from shared.store.database import connect
from shared.store.tables import deployments, inbox, reservations, usage, workloads
from tests.support.running import SUBMITTED, RunningPlatform, eventually, workload

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("platform")]

COUNT = 200
MIDDLE = 60


def phases(platform: RunningPlatform, team: str) -> Counter[str]:
    query = sa.select(workloads.c.phase, sa.func.count()).where(workloads.c.team == team).group_by(workloads.c.phase)
    with platform.engine.connect() as connection:
        return Counter({row[0]: row[1] for row in connection.execute(query)})


def test_each_of_200_workloads_is_there_exactly_once_after_a_kill_in_their_middle(
    restartable: RunningPlatform,
) -> None:
    names = [f"w{number:03}" for number in range(COUNT)]
    for name in names:
        restartable.publish(SUBMITTED, workload(name, team="killed", namespace="killed"))
    eventually(lambda: phases(restartable, "killed")[Phase.HEALTHY], lambda healthy: healthy >= MIDDLE)
    restartable.kill()
    restartable.start()
    before = phases(restartable, "killed")[Phase.HEALTHY]
    assert MIDDLE <= before < COUNT
    eventually(lambda: phases(restartable, "killed"), lambda found: found == {Phase.HEALTHY: COUNT}, 120)

    live = restartable.objects("/apis/apps/v1/namespaces/killed/deployments?limit=500")
    assert sorted(found["metadata"]["name"] for found in live) == names
    assert {found["status"]["readyReplicas"] for found in live} == {1}
    pods = restartable.objects("/api/v1/namespaces/killed/pods?limit=500")
    assert len(pods) == COUNT
    _books_balance(restartable)


def _books_balance(platform: RunningPlatform) -> None:
    """One revision and one reservation of one replica each; the ledger's sum is theirs; the audit chain is whole."""
    with platform.engine.connect() as connection:
        mine = {workload_id("killed", "killed", f"w{number:03}") for number in range(COUNT)}
        revisions = connection.execute(
            sa.select(deployments.c.workload_id, deployments.c.revision).where(deployments.c.namespace == "killed")
        ).all()
        assert sorted(row.workload_id for row in revisions) == sorted(mine)
        assert {row.revision for row in revisions} == {1}
        lines = connection.execute(
            sa.select(reservations.c.workload_id, reservations.c.replicas).where(reservations.c.team == "killed")
        ).all()
        assert sorted(row.workload_id for row in lines) == sorted(mine)
        assert {row.replicas for row in lines} == {1}
        total = sa.select(sa.func.sum(usage.c.replicas)).where(usage.c.team == "killed")
        assert connection.execute(total).scalar_one() == COUNT
        assert audit.verify(connection) == []


def test_an_event_that_is_being_retried_is_retried_on_after_a_kill(restartable: RunningPlatform) -> None:
    """The database refuses every connection until after the restart; the broker's log holds the event meanwhile."""
    restartable.reaches(restartable.submit("warm", replicas=0), Phase.HEALTHY)
    _limit_connections(restartable, 0)
    name = f"retried-{uuid.uuid4().hex[:12]}"
    restartable.publish(SUBMITTED, workload(name, replicas=0))
    eventually(restartable.log, lambda log: "503, again in" in log)
    restartable.kill()
    restartable.start()
    _limit_connections(restartable, -1)
    restartable.reaches(workload_id("flows", "flows", name), Phase.HEALTHY)
    with restartable.engine.connect() as connection:
        handled = sa.select(sa.func.count()).where(inbox.c.consumer == "workload-intake", inbox.c.handled_at.is_(None))
        assert connection.execute(handled).scalar_one() == 0


def _limit_connections(platform: RunningPlatform, limit: int) -> None:
    """Lets the application's role have so many connections (-1: any number), and ends those that it has."""
    owner = platform.database_url.replace("://sentinel@", "://sentinel_owner@")
    engine = connect(owner, pool_size=1)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER ROLE sentinel CONNECTION LIMIT {limit}"))
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sentinel'"
            connection.execute(sa.text(ended)).all()
    finally:
        engine.dispose()
