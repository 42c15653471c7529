"""The registry that event types are declared in, and the base of their data."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, JsonValue

from shared.models.fields import Wire

M = TypeVar("M", bound=BaseModel)


class EventData(Wire):
    """Base of the data of Sentinel's own event types: camelCase JSON, no unknown field."""


@dataclass(frozen=True)
class EventType:
    """One declared event type.

    terminal: nothing in the chain takes it. raw: its handler judges the data itself and answers a bad
    one with an event, so the endpoint hands it over unparsed. foreign: another system's type, with its
    own rules (no subject needed, unknown fields ignored). repeated: what it brings about, the next tick does too, so
    one that is lost costs time alone. outside: no function emits it, so its hops are counted from here. keyed: what it
    brings about has a natural key, by which its consumers find duplicates.
    """

    name: str
    data: type[BaseModel]
    terminal: bool
    raw: bool
    foreign: bool
    repeated: bool
    outside: bool
    keyed: bool
    example: Mapping[str, JsonValue]

    @property
    def is_claimed(self) -> bool:
        """Whether the inbox must know of each event: nothing else tells a duplicate from the first."""
        return not (self.repeated or self.keyed)


class Catalogue:
    """Event types by name. An unknown name is a KeyError, a second declaration a ValueError."""

    def __init__(self) -> None:
        self._types: dict[str, EventType] = {}
        self._names: dict[type[BaseModel], str] = {}

    def declare(
        self,
        name: str,
        *,
        example: Mapping[str, JsonValue],
        terminal: bool = False,
        raw: bool = False,
        foreign: bool = False,
        repeated: bool = False,
        outside: bool = False,
        keyed: bool = False,
    ) -> Callable[[type[M]], type[M]]:
        """Class decorator: the data model of the event type `name`."""

        def register(model: type[M]) -> type[M]:
            if name in self._types:
                raise ValueError(f"event type {name} is declared twice")
            self._types[name] = EventType(name, model, terminal, raw, foreign, repeated, outside, keyed, example)
            self._names[model] = name
            return model

        return register

    def __getitem__(self, name: str) -> EventType:
        return self._types[name]

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[EventType]:
        return iter(sorted(self._types.values(), key=lambda t: t.name))

    def name_of(self, model: type[BaseModel]) -> str:
        """The type string that a data model was declared for."""
        return self._names[model]

    def of(self, *models: type[BaseModel]) -> dict[str, EventType]:
        """The declarations of these models, by type string: what a consumer takes."""
        return {self._names[model]: self._types[self._names[model]] for model in models}
