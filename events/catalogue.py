"""The one registry that every event type is declared in."""

from shared.eventing.event import Catalogue

CATALOGUE = Catalogue()
