"""Sessions of the `server`, as a plugin (see conftest.py in the root)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bench.sessions import Session


@pytest.fixture
def session(server) -> Iterator[Callable[..., Session]]:
    """session("Train", run="a") opens a page as a tab does; no page may show an exception."""
    opened: list[Session] = []

    def start(page: str, **query: str) -> Session:
        opened.append(Session(server.port, page, query))
        opened[-1].ask()
        return opened[-1]

    yield start
    for each in opened:
        each.close()
    assert not [error for each in opened for error in each.errors]
