"""The one registry that every event type is declared in."""

from shared.eventing.event_types import Catalogue

CATALOGUE = Catalogue()
