"""No credential is ever shown, whatever it is called, wherever it turns up, however its bytes come."""

import base64
import itertools
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniasgi.xray.secrets import Secrets, Stream, is_secret

SECRET = "s3same-0pen-up"
STARS = "*" * len(SECRET)


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "proxy-authorization", "Cookie", "set-cookie", "X-Api-Key", "apikey", "api_key", "API-KEY"),
        *("X-Auth-Token", "x-csrf-token", "access_token", "refresh_token", "id_token", "token", "sessionid", "session"),
        *("session_id", "password", "db_password", "passwd", "client_secret", "credentials", "x-amz-security-token"),
        *("http.request.header.authorization", "login.password", "session.id"),
    ],
)  # fmt: skip
def test_secret_names(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("host", "content-type", "max_tokens", "prompt.tokens", "completion_tokens", "tokenizer", "tokenizer.encode"),
        *("author", "accept", "key", "etag", "x-request-id", "traceparent", "sec-websocket-key", ""),
    ],
)  # fmt: skip
def test_names_that_are_no_secret(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    "text",
    [
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n\r\n",
        "authorization:{}",
        "HTTP/1.1 200 OK\r\nSet-Cookie:\t{}; path=/\r\n",
        "GET /?token={}&a=b HTTP/1.1",
        "/path?a=b&api_key={}",
        "password={}&name=x",
        "query_string=b'password={}&name=x'",
        "User(name='x', password='{}')",
        'User(password="{}", name=1)',
        "Secret(token=b'{}')",
        '{{"name": "x", "token": "{}"}}',
        '{{"access_token":"{}"}}',
        "{{'password': '{}', 'a': 1}}",
        "{{b'cookie': b'{}'}}",
        "[(b'host', b'a'), (b'authorization', b'{}')]",
        "[['x-api-key', '{}']]",
        '--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n{}\r\n--x--\r\n',
        '--x\r\nContent-Disposition: form-data; name="token"; filename="t"\r\nContent-Type: text/plain\r\n\r\n{}',
        "headers=[(b'cookie', b'a={}; b=c')]",
        "Authorization : {}",
        "  password:  {}  ",
        "Error: cannot connect to postgres://user:{}@db/name",
        'call({{"arguments": "{{\\"api_key\\": \\"{}\\"}}"}})',
    ],
)
def test_a_telling_name_hides_a_value(text: str) -> None:
    shown, whole = Secrets().mask(text.format(SECRET)), text.format(SECRET)
    assert SECRET not in shown
    assert len(shown) == len(whole)
    # What came before the value can be read as ever:
    start = whole.index(SECRET)
    assert shown[:start] == whole[:start] or "b'cookie'" in text


@pytest.mark.parametrize(
    "text",
    [
        "GET /token/abcdef HTTP/1.1\r\nHost: secret.example\r\n\r\n",
        '{"max_tokens": 64, "model": "tiny", "tokenizer": "bpe"}',
        "the password is wrong",
        "a cookie: as such is no secret"[9:],
        "prompt.tokens=23 waiting=0",
        "",
    ],
)
def test_what_tells_nothing_stays(text: str) -> None:
    assert Secrets().mask(text) == text


def test_a_value_that_is_cut_off_is_hidden_to_its_end() -> None:
    assert Secrets().mask('{"password": "abc') == '{"password": "***'
    assert Secrets().mask("(b'authorization', b'Bearer ab") == "(b'authorization', b'*********"


def test_a_quote_inside_of_a_value_does_not_end_it() -> None:
    assert Secrets().mask(r'{"password": "a\"b", "c": "d"}') == r'{"password": "****", "c": "d"}'


def test_a_field_with_a_secret_name_is_hidden_whole() -> None:
    secrets = Secrets()
    assert secrets.mask_field("db_password", "any thing") == "*********"
    assert secrets.mask_field("name", "any thing") == "any thing"


@given(st.text(min_size=1), st.sampled_from(["token", "Password", "x-api-key"]))
def test_whatever_a_value_is_it_is_hidden_in_json_and_in_reprs(value: str, name: str) -> None:
    value = f"S3{value}S3"
    for text in (json.dumps({name: value}), repr({name: value}), repr([(name, value)]), f"Made({name}={value!r})"):
        shown = Secrets().mask(text)
        assert "S3" not in shown
        assert (len(shown), shown[-1]) == (len(text), text[-1])


# Values that a request has shown to be secret:


def learned(name: bytes, value: bytes) -> Secrets:
    secrets = Secrets()
    secrets.learn([(b"host", b"example"), (name, value)])
    return secrets


@pytest.mark.parametrize(
    "name, value, text",
    [
        (b"authorization", b"Bearer s3same-0pen-up", "who={}"),
        (b"Authorization", b"Bearer s3same-0pen-up", "Bearer {}"),
        (b"x-api-key", b"s3same-0pen-up", "({!r},)"),
        (b"cookie", b"a=b; sid=s3same-0pen-up", "session {} is valid"),
        (b"cookie", b'sid="s3same-0pen-up"', "session {} is valid"),
        (b"set-cookie", b"sid=s3same-0pen-up; Path=/; HttpOnly", "new {}"),
        (b"authorization", b"Basic " + base64.b64encode(b"user:s3same-0pen-up"), "password was {}"),
        (b"authorization", b"Token s3same-0pen-up, x", "{}"),
    ],
)
def test_a_learned_value_is_hidden_anywhere(name: bytes, value: bytes, text: str) -> None:
    assert learned(name, value).mask(text.format(SECRET)).count("*") >= len(SECRET)
    assert SECRET not in learned(name, value).mask(text.format(SECRET))


@pytest.mark.parametrize("form", [repr, json.dumps, urllib.parse.quote, str, urllib.parse.quote_plus])
def test_a_learned_value_is_hidden_as_others_write_it(form: object) -> None:
    value = 'pass"word/with\\é and more'
    assert "more" not in learned(b"x-api-key", value.encode("latin-1")).mask(f"<{form(value)}>")  # type: ignore[operator]


@pytest.mark.parametrize("word", ["Bearer", "HttpOnly", "Secure", "example", "Basic"])
def test_words_that_are_no_secret_are_not_learned(word: str) -> None:
    secrets = learned(b"authorization", b"Bearer s3same-0pen-up")
    secrets.learn([(b"set-cookie", b"a=s3same; HttpOnly; Secure"), (b"x", b"Basic")])
    assert secrets.mask(word) == word


def test_what_is_short_would_turn_up_by_chance() -> None:
    assert learned(b"x-api-key", b"12345").mask("12345 tokens") == "12345 tokens"


def test_learning_goes_on() -> None:
    secrets = learned(b"x-api-key", b"the-first")
    secrets.learn([(b"set-cookie", b"a=the-second")])
    assert secrets.mask("the-first the-second") == "********* **********"


@pytest.mark.parametrize(
    "value", [b"Basic ???", b"Basic " + base64.b64encode(b"\xff\xfe\xfd\xfc"), b"", b"Basic", b"\xff" * 9]
)
def test_odd_headers(value: bytes) -> None:
    assert learned(b"authorization", value).mask("plain") == "plain"


# Bytes:

names = st.sampled_from(["Authorization", "cookie", "X-API-Key", "Set-Cookie", "Proxy-Authorization", "x-auth-token"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=6, max_size=30).map("S3{}".format)


@given(names, values, st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_a_header_never_survives_whatever_pieces_its_bytes_come_in(
    name: str, value: str, cuts: list[int], second: bool
) -> None:
    request = f"GET / HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\nAccept: */*\r\n\r\n".encode()
    data = request * (1 + second)
    marks = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    stream = Stream()
    pieces = [stream.mask(data[start:end]) for start, end in itertools.pairwise(marks)]
    assert [len(piece) for piece in pieces] == [end - start for start, end in itertools.pairwise(marks)]
    shown = b"".join(pieces)
    stars = b"*" * len(value)
    assert shown == data.replace(f": {value}\r".encode(), b": " + stars + b"\r")


@given(st.binary(max_size=300), st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_length_is_kept_whatever_the_bytes(data: bytes, more: list[bytes]) -> None:
    secrets, stream = learned(b"cookie", data[:60]), Stream()
    assert len(secrets.mask_bytes(data)) == len(data)
    for piece in [data, *more]:
        assert len(stream.mask(piece)) == len(piece)


@given(st.text(max_size=80), names, values)
def test_length_is_kept_whatever_the_text(text: str, name: str, value: str) -> None:
    secrets = learned(name.encode(), value.encode())
    shown = secrets.mask(f"{text}{value}{text}")
    assert len(shown) == 2 * len(text) + len(value)
    assert value not in shown


@given(names, values)
def test_masking_twice_is_masking_once(name: str, value: str) -> None:
    secrets = learned(name.encode(), value.encode())
    once = secrets.mask(f"{name}: {value}\r\n{{'{name}': '{value}'}} /?{name}={value}")
    assert secrets.mask(once) == once


def test_a_stream_forgets_lines_that_are_over() -> None:
    stream = Stream()
    stream.mask(b"Authorization: x\r\n" * 1000)
    assert stream._line == b""


@pytest.mark.parametrize("start", [b"", b"Cookie: "])
def test_a_line_without_end_does_not_grow(start: bytes) -> None:
    stream = Stream()
    stream.mask(start)
    for _ in range(5):
        stream.mask(b"x" * 65536)
    assert len(stream._line) <= 65536


def test_a_long_secret_is_hidden_to_its_end() -> None:
    stream = Stream()
    pieces = [b"GET / HTTP/1.1\r\nCookie: a=", b"x" * 20000, b"y" * 9000, b"z\r\nHost: a\r\n"]
    shown = b"".join(map(stream.mask, pieces))
    assert shown == b"GET / HTTP/1.1\r\nCookie: " + b"*" * 29003 + b"\r\nHost: a\r\n"


def test_far_from_the_beginning_of_a_piece_nothing_is_shown() -> None:
    assert Stream().mask(b"\n" * 10000) == b"\n" * 8192 + b"*" * 1808


@pytest.mark.parametrize(
    "text",
    ["-a", "a", "token-", "token", '"a', "a=", "://", "://a:", "(", '("', "\\", " ", "token:", '"token\\', "&token"],
)
def test_no_text_takes_long(text: str) -> None:
    """As many names as there are, and as long: what would look for them everywhere would take minutes."""
    Secrets().mask("token" + text * (60000 // len(text)))


def test_what_is_escaped_with_a_line_end_is_no_end() -> None:
    assert Secrets().mask('{"token": "a\\\nb"}') == '{"token": "****"}'


def test_a_client_cannot_teach_without_end() -> None:
    secrets = Secrets()
    secrets.learn([(b"cookie", b"; ".join(b"cookie%d=value-%d" % (n, n) for n in range(1500)))])
    assert len(secrets._values) <= 200
    assert "value-1499" not in secrets.mask("cookie: cookie0=value-0; cookie1499=value-1499")
