"""The table of errors: each status is what a broker must be told."""

import inspect
from http import HTTPStatus

import pytest

from shared import errors

RETRIED = {404, 408, 409, 429}
"""Beside every 5xx, what a Knative broker delivers again."""

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_is_one_of_ours_and_in_the_table(error: type[Exception]) -> None:
    assert issubclass(error, errors.SentinelError)
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("error", "status", "retried"),
    [
        (errors.MalformedEvent, HTTPStatus.BAD_REQUEST, False),
        (errors.EventTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, False),
        (errors.PoisonEvent, HTTPStatus.UNPROCESSABLE_ENTITY, False),
        (errors.AlreadyInProgress, HTTPStatus.CONFLICT, True),
        (errors.StoreUnavailable, HTTPStatus.SERVICE_UNAVAILABLE, True),
    ],
)
def test_statuses(error: type[errors.EventError], status: HTTPStatus, retried: bool) -> None:
    assert error.status is status
    assert (status >= 500 or status in RETRIED) is retried


def test_errors_of_a_cluster_never_become_a_status_of_ours() -> None:
    for error in (errors.ClusterUnavailable, errors.ClusterConflict, errors.ClusterRefused):
        assert not issubclass(error, errors.EventError)
