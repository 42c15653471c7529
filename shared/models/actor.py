"""Who does something: every row of the audit log names its actor."""

from dataclasses import dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    """What an actor is. `SYSTEM` stands on rows of releases that did not record an actor."""

    USER = "user"
    SERVICE_ACCOUNT = "service_account"
    EVENT_SOURCE = "event_source"
    FUNCTION = "function"
    OPERATOR = "operator"
    SYSTEM = "system"


@dataclass(frozen=True)
class Actor:
    """One actor; its text form is `kind:name`, for instance `function:policy-evaluation`.

    name: the login of a user or operator, the `source` attribute of an event, or the name of a function.
    """

    kind: ActorKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind.value

    @classmethod
    def function(cls, name: str) -> "Actor":
        """A function that acts on facts of its own, such as the clock or a cluster."""
        return cls(ActorKind.FUNCTION, name)

    @classmethod
    def event_source(cls, source: str) -> "Actor":
        """Whoever sent an event: all that is known of them is the event's source."""
        return cls(ActorKind.EVENT_SOURCE, source)

    @classmethod
    def operator(cls, login: str) -> "Actor":
        """Somebody with access to the database, by the login at the machine."""
        return cls(ActorKind.OPERATOR, login)


SYSTEM = Actor(ActorKind.SYSTEM, "")
