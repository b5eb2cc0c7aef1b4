"""What asks about locks connects as the store does: same certificates, headers and proxy, or it says why not."""

import contextlib
import datetime
import gc
import http.server
import ipaddress
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vark.errors import InvalidArgumentError, StoreUnavailableError
from vark.stores import open_store
from vark.stores.s3_client import s3_client

KEYS = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "retry": "0s"}


def certificate(folder):
    """A certificate for 127.0.0.1 that only itself vouches for; the file that a server wants."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bucket server of a test")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(made + key.private_bytes(serialization.Encoding.PEM, *form))
    return made.decode(), path


@contextlib.contextmanager
def https_server(path):
    """Says by https that a bucket has versions; yields its address and the headers of all requests."""
    heads = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heads.append(self.headers)
            body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with Quiet(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}", heads
        server.shutdown()


def test_certificates_and_headers_of_the_store_are_those_of_questions_about_locks(tmp_path):
    authority, path = certificate(tmp_path)
    with https_server(path) as (address, heads):

        def versioned(**client_options):
            options = {**KEYS, "endpoint": address, "client_options": client_options}
            return open_store("s3://bucket/prefix", options).locks.rules().versioned

        assert versioned(root_certificate=authority, default_headers={"X-Gate": "open"})
        assert {head["X-Gate"] for head in heads} == {"open"}
        with pytest.warns(match="Unverified HTTPS request"):
            assert versioned(allow_invalid_certificates=True)
        for distrusting in ({}, {"allow_invalid_certificates": False}):
            with pytest.raises(StoreUnavailableError, match="SSLError"):
                versioned(**distrusting)


def test_what_the_system_trusts_is_trusted_beside_a_certificate_of_ones_own(tmp_path):
    authority, _ = certificate(tmp_path)
    client = s3_client(KEYS, {"root_certificate": authority.encode()}, None)
    bundle = Path(client._endpoint.http_session._verify)
    assert bundle.read_text().endswith(authority)
    assert bundle.read_text().count("BEGIN CERTIFICATE") > 20
    del client
    gc.collect()
    assert not bundle.exists()


def test_the_authority_of_a_proxy_is_handed_on(tmp_path):
    authority, _ = certificate(tmp_path)
    client = s3_client(KEYS, {"proxy_url": "https://127.0.0.1:9", "proxy_ca_certificate": authority}, None)
    assert Path(client.meta.config.proxies_config["proxy_ca_bundle"]).read_text() == authority


def test_exceptions_to_a_proxy_are_refused_for_boto3_has_none():
    options = {**KEYS, "client_options": {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": "127.0.0.1"}}
    with pytest.raises(InvalidArgumentError, match="NO_PROXY"):
        open_store("s3://bucket/prefix", options).locks.rules()
