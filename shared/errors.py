"""The errors of the shared core, in one tree, with the HTTP status that answers an event where one does.

A module with an error of its own derives it from SentinelError next to the code that raises it.

    SentinelError
    +-- ConfigurationError        the process cannot start as it was set up
    +-- EventError                an event that is answered with a status of its own
    |   +-- MalformedEvent        400  not a CloudEvent (permanent)
    |   +-- Unauthenticated       401  nobody knows who asks (permanent)
    |   +-- Forbidden             403  who asks has no role for it (permanent)
    |   +-- EventTooLarge         413  over the body cap (permanent)
    |   +-- PoisonEvent           422  a CloudEvent that may not be acted on (permanent)
    |   +-- OperationRefused      422  what an operation may not do, now or later, with the field to mend (permanent)
    |   |   +-- NotBound          422  what an event's source may not ask for
    |   +-- RowUnreadable         422  a stored row that this release cannot understand (permanent)
    |   +-- AlreadyInProgress     409  the same work is being done right now (transient)
    |   +-- StoreUnavailable      503  our own database is away (transient)
    |       +-- StoreContended    503  another transaction has locked for too long what this one needs (transient)
    +-- InvalidQuantity           text that is not a Kubernetes quantity
    +-- IllegalTransition         a phase that the lifecycle does not lead to
    +-- UnknownPrice              a fact that a workload's cost depends on is missing, which denies
    +-- UnknownMigProfile         a GPU cannot be divided like this
    +-- NoClusterMatches          no registered cluster may run a workload
    +-- NotFound                  nothing has the name or id that a command gave
    +-- WrongState                what an operation may not do in the state that its object has now
    +-- AlreadyExists             another object has the name that a new one should get
    +-- AmbiguousName             several workloads have the name that a command gave
    +-- PolicyUnreadable          a policy of another version, which cannot be put into force
    +-- PrometheusError           a Prometheus gave no answer that counts
    |   +-- PrometheusUnavailable the same query may be answered later
    |   +-- QueryRefused          it will not be
    +-- ClusterError              a Kubernetes API server said no, or nothing
        +-- ClusterUnavailable    try again later; costs nobody an attempt
        |   +-- ClusterAway       the whole cluster does not answer, whatever it is asked
        |   +-- ArrivalUnknown    nobody can tell whether a write that was refused had arrived before
        +-- ClusterConflict       the object changed since it was read
        +-- ClusterRefused        the server will never take this request
            +-- ForeignObject     the object of that name is somebody else's

A broker retries 404, 408, 409, 429 and 5xx, and dead-letters every other 4xx: hence "permanent" and
"transient".
"""

from http import HTTPStatus


class SentinelError(Exception):
    """The root of all errors that Sentinel raises on purpose."""


class ConfigurationError(SentinelError):
    """A process cannot start as it was set up; the message names the setting and the fix."""


class EventError(SentinelError):
    """An event that cannot be handled; `status` is the HTTP answer, `str(error)` its reason."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class MalformedEvent(EventError):
    """The request is not a CloudEvent as CloudEvents 1.0 and its HTTP binding define one."""

    status = HTTPStatus.BAD_REQUEST


class Unauthenticated(EventError):
    """A request without a token that counts; the message says what to do, and nothing of the token."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(EventError):
    """Who asks is known, and has no role that permits it; the message names the permission and the team.

    permission: what is missing. team: whose object it was about; None for one of no team.
    """

    status = HTTPStatus.FORBIDDEN

    def __init__(self, message: str, permission: str, team: str | None = None) -> None:
        super().__init__(message)
        self.permission, self.team = permission, team


class EventTooLarge(EventError):
    """The body is larger than the cap."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class PoisonEvent(EventError):
    """A well-formed event that may not be acted on, now or later."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class OperationRefused(EventError):
    """What an operation may not do, now or later; `errors` says why: (field, message), the field may be ""."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, field: str, message: str, *others: tuple[str, str]) -> None:
        self.errors = ((field, message), *others)
        super().__init__("; ".join(f"{name}: {said}" if name else said for name, said in self.errors))


class NotBound(OperationRefused):
    """What an event's source may not ask for, because it is not bound to it."""


class RowUnreadable(EventError):
    """A stored row that this release cannot understand; the message names the row and what is wrong in it."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class AlreadyInProgress(EventError):
    """The same event is being handled, or the same work is being done, by somebody else; the caller asks again."""

    status = HTTPStatus.CONFLICT


class StoreUnavailable(EventError):
    """PostgreSQL is away, or asked for the transaction to be repeated."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class StoreContended(StoreUnavailable):
    """Another transaction has locked what this one needs, for too long or in a circle."""


class InvalidQuantity(SentinelError, ValueError):
    """Text that is not a Kubernetes quantity."""


class IllegalTransition(SentinelError):
    """A phase that the lifecycle's transition table does not lead to."""


class UnknownPrice(SentinelError):
    """A workload's cost cannot be known; the message names what has no price, and what has one."""


class UnknownMigProfile(SentinelError):
    """A GPU has no MIG profile of this name; the message names those that it has."""


class NoClusterMatches(SentinelError):
    """No registered cluster may run a workload; the message says of each why not."""


class NotFound(SentinelError):
    """Nothing has the name or the id that was given."""


class WrongState(SentinelError):
    """The state of an object does not allow what was asked now; the message says what would."""


class AlreadyExists(SentinelError):
    """Another object has the name that a new one should get; the message names it."""


class AmbiguousName(SentinelError):
    """Several workloads have the name that was given; the message lists some of them."""


class PolicyUnreadable(SentinelError):
    """The stored policy is of a version that this release cannot read, so it cannot be put into force."""


class PrometheusError(SentinelError):
    """A query has no answer that counts; the message holds no credentials."""


class PrometheusUnavailable(PrometheusError):
    """Prometheus does not answer, is overloaded, or has a part of the data alone."""


class QueryRefused(PrometheusError):
    """Prometheus will not answer this query, or its answer is of no use."""


class ClusterError(SentinelError):
    """A Kubernetes API server refused, or did not answer."""


class ClusterUnavailable(ClusterError):
    """No answer, or one that says "later" (429, 5xx): the work waits, and nobody loses an attempt."""


class ClusterAway(ClusterUnavailable):
    """The whole cluster is away: no connection, no answer in time, or one that says so of every request."""


class ArrivalUnknown(ClusterUnavailable):
    """A write was refused, and the read that would show whether an earlier attempt at it arrived was refused too."""


class ClusterConflict(ClusterError):
    """409: the object changed since it was read, or another field manager owns a field."""


class ClusterRefused(ClusterError):
    """The API server will never take this request (400, 403, 404 of a kind, 422, a typed-patch failure)."""


class ForeignObject(ClusterRefused):
    """The object of that name is not Sentinel's, or belongs to another workload: it is left alone."""
