"""tls.py: HTTPS and WSS for real clients, certificates both ways, and what apps are told of it (E5)."""

import asyncio
import json
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import websockets

from miniasgi import Config, ConfigError
from miniasgi.tls import Tls, _distinguished_name
from miniasgi.types import Message, Receive, Scope, Send

from .vocabulary import Client, Running, answer, eventually, get, serving, spawned

Serve = Callable[..., Running]


class Files:
    """An authority, and the files that options of a server name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = self._write("ca.pem", self.authority.cert_pem)
        self.pair = self.server()

    def _write(self, name: str, *blobs: trustme.Blob) -> str:
        path = self.folder / name
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)

    def server(self, name: str = "server.pem") -> str:
        """A new certificate for 127.0.0.1, with its key."""
        self.issued = self.authority.issue_cert("127.0.0.1")
        return self._write(name, self.issued.private_key_and_cert_chain_pem)

    def client(self, **subject: str) -> str:
        issued = self.authority.issue_cert("ada@example.org", **subject)
        return self._write("client.pem", issued.private_key_and_cert_chain_pem)

    def context(self, client_cert: str | None = None) -> ssl.SSLContext:
        """That of a client which trusts the authority."""
        context = ssl.create_default_context(cafile=self.ca)
        if client_cert is not None:
            context.load_cert_chain(client_cert)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def connect(server: Running, context: ssl.SSLContext) -> Client:
    sock = socket.create_connection(("127.0.0.1", server.port))
    server.clients.append(Client(context.wrap_socket(sock, server_hostname="127.0.0.1")))
    return server.clients[-1]


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what the scope says of TLS, and then changes that."""
    told = scope["extensions"].get("tls")
    await answer(json.dumps([scope["scheme"], told]).encode())(scope, receive, send)
    if told is not None:
        told["client_cert_chain"].append("mine")
        told["server_cert"] = "mine"


def test_a_real_client_is_answered_over_tls(serve: Serve, files: Files) -> None:
    server = serve(answer(b"x" * 300_000), ssl_certfile=files.pair)
    with httpx.Client(verify=files.context()) as client:
        for _ in range(2):
            assert client.get(f"https://127.0.0.1:{server.port}/").content == b"x" * 300_000


def test_E5_an_app_is_told_of_the_connection_and_cannot_change_it_for_others(serve: Serve, files: Files) -> None:
    server = serve(tell, ssl_certfile=files.pair)
    client = connect(server, files.context())
    for _ in range(2):
        scheme, told = json.loads(client.ask(get()).body)
        assert scheme == "https"
        assert told["server_cert"].strip() == files.issued.cert_chain_pems[0].bytes().decode().strip()
        assert (told["client_cert_chain"], told["client_cert_name"], told["client_cert_error"]) == ([], None, None)
        assert told["tls_version"] == 0x0304
        assert told["cipher_suite"] in (0x1301, 0x1302, 0x1303)


def test_E5_without_tls_there_is_no_such_extension(serve: Serve) -> None:
    assert json.loads(serve(tell).ask(get()).body) == ["http", None]


def test_E5_a_client_is_known_by_its_certificate(serve: Serve, files: Files) -> None:
    server = serve(tell, ssl_certfile=files.pair, ssl_ca_certs=files.ca, ssl_cert_reqs=ssl.CERT_REQUIRED)
    context = files.context(files.client(common_name='Ada, "Countess"', organization_name="Engines"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _, told = json.loads(connect(server, context).ask(get()).body)
    name = told["client_cert_name"].split(",OU=")
    assert name[0] == 'CN=Ada\\, \\"Countess\\"'
    assert name[1].endswith(",O=Engines")
    certificate = told["client_cert_chain"][0]
    assert certificate in (files.folder / "client.pem").read_text()
    assert told["tls_version"] == 0x0303
    assert told["cipher_suite"] > 0xC000


def test_a_client_without_the_required_certificate_is_not_served(serve: Serve, files: Files) -> None:
    server = serve(tell, ssl_certfile=files.pair, ssl_ca_certs=files.ca, ssl_cert_reqs=ssl.CERT_REQUIRED)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):  # the handshake of TLS 1.3 ends later
        connect(server, files.context()).ask(get())
    assert not server.service.connections


def test_who_speaks_no_tls_is_cut_and_others_are_served(serve: Serve, files: Files) -> None:
    server = serve(answer(), ssl_certfile=files.pair)
    server.connect().send(get()).assert_closed()
    assert connect(server, files.context()).ask(get()).status == 200


def test_a_client_that_says_nothing_is_cut_at_the_deadline_of_a_head(serve: Serve, files: Files) -> None:
    server = serve(answer(), ssl_certfile=files.pair, timeout_request_head=0.05)
    server.connect().assert_closed()


def test_a_keep_alive_connection_and_a_file_over_tls(serve: Serve, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(200_000))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    client = connect(serve(app, ssl_certfile=files.pair), files.context())
    for _ in range(2):
        assert client.ask(get()).body == bytes(200_000)


async def test_a_websocket_over_tls(files: Files) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept"})
        message: Message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        await receive()

    def serve_one() -> None:
        with serving(app, ssl_certfile=files.pair, lifespan="off") as server:
            asyncio.run(talk(server.port))

    async def talk(port: int) -> None:
        async with websockets.connect(f"wss://127.0.0.1:{port}/", ssl=files.context()) as client:
            await client.send("hello")
            assert await client.recv() == "hello"

    await asyncio.to_thread(serve_one)
    assert scopes[0]["scheme"] == "wss"
    assert set(scopes[0]["extensions"]) == {"websocket.http.response", "tls"}


# Renewal:


def served(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that a server shows, as DER."""
    with (
        socket.create_connection(("127.0.0.1", port)) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def der(issued: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def test_sighup_reads_the_certificate_anew_and_drops_nobody(files: Files, tmp_path: Path) -> None:
    source = """
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
    """.replace("\n    ", "\n")
    with spawned(tmp_path, source, "--lifespan", "off", "--ssl-certfile", files.pair) as server:
        port = int(server.wait_for(r"running on https://127\.0\.0\.1:(\d+)")[1])
        context, first = files.context(), files.issued
        with socket.create_connection(("127.0.0.1", port)) as sock:
            client = Client(context.wrap_socket(sock, server_hostname="127.0.0.1"))
            assert client.ask(get()).status == 200
            assert served(port, context) == der(first)
            files.server()
            server.signal(signal.SIGHUP)
            server.wait_for("Certificate read anew: .*server.pem")
            assert served(port, context) == der(files.issued) != der(first)
            Path(files.pair).write_text("nonsense")
            server.signal(signal.SIGHUP)
            server.wait_for("ERROR: +The former certificate stays: .*server.pem")
            assert served(port, context) == der(files.issued)
            assert client.ask(get()).status == 200, "on the connection that began before all that"
            client.close()
        server.signal(signal.SIGTERM)
        assert server.join() == -signal.SIGTERM


def test_half_of_a_new_pair_leaves_the_former_certificate(files: Files) -> None:
    with serving(answer(), ssl_certfile=files.pair, lifespan="off") as server:
        certificate = files.issued.cert_chain_pems[0].bytes()
        stranger = trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes()
        Path(files.pair).write_bytes(stranger + certificate)
        with pytest.raises(ssl.SSLError):
            server.server.tls.load()  # type: ignore[union-attr]
        assert served(server.port, files.context()) == der(files.issued)


# Mistakes:


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ssl_certfile": "nowhere.pem"}, "No such file"),
        ({"ssl_keyfile": "server.pem"}, "TLS needs a certificate: --ssl-certfile"),
        ({"ssl_certfile": "server.pem", "ssl_keyfile": "ca.pem"}, "ca.pem"),
        ({"ssl_certfile": "server.pem", "ssl_ca_certs": "nowhere.pem"}, "No such file"),
        ({"ssl_certfile": "server.pem", "ssl_ciphers": "nonsense"}, "No cipher can be selected"),
        ({"ssl_certfile": "server.pem", "ssl_cert_reqs": 7}, "7 is not a valid VerifyMode"),
        ({"ssl_certfile": "server.pem", "ssl_version": 77}, "TLS with server.pem"),
        ({"ssl_certfile": "locked.pem"}, "TLS with locked.pem"),
        ({"ssl_certfile": "locked.pem", "ssl_keyfile_password": "wrong"}, "TLS with locked.pem"),
    ],
)
def test_what_cannot_be_used_is_said(
    options: dict[str, Any], sentence: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files.folder)
    _lock(files)
    with pytest.raises(ConfigError, match=sentence):
        Config(answer(), **options).tls()


def _lock(files: Files) -> str:
    """The pair, with its key encrypted by the password "secret"."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.issued.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    path = files.folder / "locked.pem"
    path.write_bytes(encrypted + files.issued.cert_chain_pems[0].bytes())
    return str(path)


def test_a_key_may_have_a_password_and_a_file_of_its_own(files: Files) -> None:
    tls = Config(answer(), ssl_certfile=files.pair, ssl_keyfile=_lock(files), ssl_keyfile_password="secret").tls()
    assert tls is not None
    assert tls.server_cert is not None


def test_no_option_is_no_tls() -> None:
    assert Config(answer()).tls() is None


def test_a_program_may_make_the_context_itself_or_change_ours(files: Files) -> None:
    def factory(config: Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    with serving(answer(), ssl_certfile=files.pair, ssl_context_factory=factory, lifespan="off") as server:
        context = files.context()
        assert served(server.port, context) == der(files.issued)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            served(server.port, context)
        server.server.tls.load()  # type: ignore[union-attr]  # nothing, as the program has made it
        eventually(lambda: not server.service.connections)


# Names:


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ((), ""),
        (((("countryName", "GB"),), (("commonName", "Ada"),)), "CN=Ada,C=GB"),
        (((("commonName", "Ada"), ("userId", "1")),), "CN=Ada+UID=1"),
        (((("commonName", " #a+b=c;<d>\\"),),), "CN=\\ #a\\+b=c\\;\\<d\\>\\\\"),
        (((("commonName", "a "),),), "CN=a\\ "),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
    ],
)
def test_a_name_is_written_as_rfc_4514_says(subject: Any, name: str) -> None:
    assert _distinguished_name({"subject": subject}) == name


def test_what_openssl_does_not_tell_is_none() -> None:
    class Silent:
        def getpeercert(self, binary_form: bool = False) -> Any:
            return None

        def cipher(self) -> None:
            return None

        def version(self) -> None:
            return None

    told = Tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).extension(Silent())  # type: ignore[arg-type]
    assert (told["server_cert"], told["tls_version"], told["cipher_suite"]) == (None, None, None)
