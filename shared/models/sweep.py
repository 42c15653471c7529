"""The sweep of a cluster: everything that it lists as Sentinel's is compared with what Sentinel knows, page by page."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.models.deployment import ObjectReference

SWEPT_KINDS = ("Deployment", "StatefulSet", "Job")
"""In the order in which a sweep lists them."""

Key = tuple[str, str]
"""Namespace and name of an object."""

START: Key = ("", "")


@dataclass(frozen=True)
class SweepCursor:
    """Where the sweep of a cluster goes on.

    page: counts up over all sweeps, so that no page is read twice. namespace: "" for a list of all of them; otherwise
    the one that is listed, because the credentials do not reach further. token: the API server's, "" for the first
    page of a list. after: revisions up to this key were compared. started_at: of this sweep.
    """

    cluster: str
    page: int
    kind: str
    namespace: str
    token: str
    after: Key
    started_at: datetime

    @property
    def is_first(self) -> bool:
        """Whether a new sweep begins here."""
        place = (self.kind, self.namespace, self.token, self.after)
        return place == (SWEPT_KINDS[0], "", "", START)


@dataclass(frozen=True)
class ListedRange:
    """A part of a cluster's list of one kind, after one key and up to another (None: the end), and what is there.

    namespace: "" where the list is of all namespaces. at: revisions that were applied later are not expected in it.
    """

    cluster: str
    kind: str
    namespace: str
    after: Key
    until: Key | None
    keys: Sequence[Key]
    at: datetime


@dataclass(frozen=True)
class Orphan:
    """An object that is managed by Sentinel and that no workload owns.

    instance: the workload that its label names, if any. revision: that its annotation names, if any. requested_by: who
    asked for its removal, "" for nobody.
    """

    id: uuid.UUID
    cluster: str
    reference: ObjectReference
    instance: str
    revision: int | None
    found_at: datetime
    requested_by: str = ""
