"""The compiled policies, kept between operations of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.policy.policy_set import PolicySet

if TYPE_CHECKING:
    import uuid

    from shared.store.unit_of_work import UnitOfWork


class PolicyCache:
    """The compiled set of the newest revision that this process has seen."""

    def __init__(self) -> None:
        self._compiled: tuple[uuid.UUID | None, PolicySet] | None = None

    def current(self, work: UnitOfWork) -> PolicySet:
        """The set as the transaction sees it: its revision is read there, and compiled again only when it moved."""
        revision = work.policies.revision()
        compiled = self._compiled  # another thread may put another revision there meanwhile
        if compiled is None or compiled[0] != revision:
            self._compiled = compiled = (revision, PolicySet(work.policies.all()))
        return compiled[1]
