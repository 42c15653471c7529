"""Dead letters that tests keep."""

from shared.models.dead_letter import DeadLetter
from shared.operations import dead_letters
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, envelope


def keep_letter(store: Store, event_id: str, body: bytes | None = None, **attributes: str) -> str:
    """Keeps an event that intake refused; the id of its letter."""
    event = envelope(event_id=event_id)
    letter = DeadLetter(
        destination="http://intake",
        source=event.source,
        event_id=event.id,
        type=event.type,
        subject=event.subject,
        attributes={**event.attributes, **attributes},
        body=event.body if body is None else body,
        error_code=422,
        reason="no team",
    )
    with store.begin() as work:
        dead_letters.keep(work, letter, TESTS)
        [found] = work.dead_letters.of_event(event.source, event.id)
    return str(found.id)
