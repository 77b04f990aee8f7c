"""events.py: the words between bytes and requests can be compared, and read in a log."""

import pytest

from miniasgi.events import END, BadRequest, Body, End, Request


def test_events_with_the_same_content_are_equal():
    assert Body(b"a") == Body(b"a")
    assert Body(b"a") != Body(b"b")
    assert End() == END
    assert Request("GET", b"/", "1.1", []) == Request("GET", b"/", "1.1", [])
    assert Request("GET", b"/", "1.1", []) != Request("GET", b"/", "1.0", [])


def test_events_show_what_they_carry():
    assert repr(Body(b"a")) == "Body(data=b'a')"
    assert repr(END) == "End()"
    assert "method='GET', target=b'/x'" in repr(Request("GET", b"/x", "1.1", []))


@pytest.mark.parametrize("event", [Request("GET", b"/", "1.1", []), Body(b""), END], ids=repr)
def test_events_take_no_other_attributes(event):
    with pytest.raises(AttributeError):
        event.note = "a typo"


def test_a_bad_request_has_a_status_for_the_client_and_a_message_for_the_log():
    error = BadRequest(431, "too many fields")
    assert (error.status, str(error)) == (431, "431: too many fields")
