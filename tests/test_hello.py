"""The demo app: one of each thing, over a real socket."""

from collections.abc import Iterator

import httpx
import pytest

from .vocabulary import PARSERS, serving


@pytest.fixture(scope="module", params=PARSERS)
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with (
        serving("examples.hello.main:app", http=request.param) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):
        yield client


def test_an_async_endpoint_sees_the_state_of_the_lifespan(client: httpx.Client) -> None:
    assert client.get("/").json()["message"] == "Hello, world!"


def test_a_sync_endpoint_runs_in_a_thread(client: httpx.Client) -> None:
    assert client.get("/thread").json() == {"thread": "AnyIO worker thread"}


def test_pydantic_and_a_dependency_shape_the_answer(client: httpx.Client) -> None:
    reply = client.post("/greet", json={"name": "Ada", "age": 36}, headers={"Accept-Language": "fr, en"})
    assert reply.json() == {"message": "Hello, Ada! You are 36.", "language": "fr"}


def test_a_wrong_age_is_a_422_at_the_field(client: httpx.Client) -> None:
    reply = client.post("/greet", json={"name": "x", "age": "no"})
    assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", "age"])


def test_a_stream_comes_in_pieces(client: httpx.Client) -> None:
    with client.stream("GET", "/count", params={"to": 2}) as reply:
        assert [piece for piece in reply.iter_text() if piece] == ["1\n", "2\n"]
