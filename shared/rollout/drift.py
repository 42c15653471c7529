"""Whether an object on a cluster is still what Sentinel applied. Pure.

What is compared are the fields that Sentinel's manifest names, as the API server answered the apply: an admission
webhook may have changed them on the way, and quantities have many spellings. So the manifest says which fields, and a
digest of their values says whether they are as they were.

| finding        | applies when                                                                    |
|----------------|---------------------------------------------------------------------------------|
| unmarked       | the object lacks the label or annotation by which it is known                   |
| older revision | its annotation names an older revision than the one that should be there        |
| changed        | a field that Sentinel applied has another value                                 |
| not ready      | a revision that was healthy lacks replicas                                      |
| recovered      | a revision that failed has all its replicas, or its Job has ended               |
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.models.deployment import Deployment
from shared.models.lifecycle import SETTLED_REVISIONS, RevisionStatus
from shared.rollout.observation import Observation, holds, instance_of, revision_of
from shared.rollout.owned_fields import owned_digest
from shared.rollout.verdict import State, verdict

_GOOD = (State.HEALTHY, State.READY)


class SweepFinding(StrEnum):
    """What a sweep finds of an object, or of one that is not there."""

    MISSING = "missing"
    UNMARKED = "unmarked"
    OLDER_REVISION = "older_revision"
    CHANGED = "changed"
    NOT_READY = "not_ready"
    RECOVERED = "recovered"
    ORPHAN = "orphan"


def drift(revision: Deployment, live: Mapping[str, Any]) -> SweepFinding | None:
    """How an object differs from what was applied for a revision; None when it does not, as far as is known."""
    there = revision_of(live)
    if there is not None and there < revision.revision:
        return SweepFinding.OLDER_REVISION
    if (
        there == revision.revision
        and revision.object_digest
        and revision.object_digest != owned_digest(revision.manifest, live)
    ):
        return SweepFinding.CHANGED
    return None


def finding(revision: Deployment, live: Mapping[str, Any], now: datetime) -> SweepFinding | None:
    """What is to be looked at more closely, if anything is. The revision is settled, or failed and may be there."""
    if instance_of(live) is None or revision_of(live) is None:
        return SweepFinding.UNMARKED
    settled = revision.status in SETTLED_REVISIONS
    if settled and (found := drift(revision, live)) is not None:
        return found
    observed = Observation(live, pods_seen=False)
    state = verdict(observed, revision, now=now, bake=timedelta(0), pull_grace=timedelta.max).state
    if settled:
        return None if state in _GOOD else SweepFinding.NOT_READY
    job_failed = live["kind"] == "Job" and holds(live, "Failed") is not None
    if revision.status is RevisionStatus.UNHEALTHY and (state in (*_GOOD, State.COMPLETED) or job_failed):
        return SweepFinding.RECOVERED
    return None
