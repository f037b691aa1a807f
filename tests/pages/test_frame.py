"""What a page's address asks for, once it is entered."""

import pytest

from pages.ui import frame


@pytest.fixture
def session(monkeypatch):
    state = {"entered": True}
    monkeypatch.setattr(frame.st, "session_state", state)
    return state


def test_a_page_is_entered_once(session):
    with frame.entering() as first:
        pass
    with frame.entering() as second:
        pass
    assert (first, second) == (True, False)


def test_a_script_interrupted_while_it_enters_enters_again(session):
    with pytest.raises(KeyboardInterrupt), frame.entering():  # as Streamlit's rerun
        raise KeyboardInterrupt
    with frame.entering() as entered:
        assert entered
