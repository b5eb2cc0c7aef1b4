"""Key slots by a key management service: against two emulators, for what each gets right, and one that fails."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from sealed_repositories import OWN, RECIPIENT, objects, put_back, sealed_repository
from store_servers import free_port
from vark.errors import ExitCode, InvalidArgumentError, KeyNeededError, KeyUnavailableError, WrongKeyError
from vark.kms import AwsKms, service_of
from vark.repository import Repository
from vark.repository.fields import decode_record, encode_record
from vark.stores import MemoryStore

boto3 = pytest.importorskip("boto3")
LOGIN = {"region_name": "us-east-1", "aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


def started(command, port, environment):
    """Start a server and wait until it answers; return the process and its address."""
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            boto3.client("kms", endpoint_url=address, **LOGIN).list_keys()
            return process, address
        except Exception:
            time.sleep(0.1)
    process.kill()
    process.wait()
    pytest.skip(f"{command[2]}: did not start")


@pytest.fixture(scope="module", params=["moto", "ministack"])
def emulator(request):
    pytest.importorskip(request.param)
    port = free_port()
    if request.param == "moto":
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    else:
        command = [sys.executable, "-m", "ministack"]
    environment = {"GATEWAY_PORT": str(port), "MINISTACK_HOST": "127.0.0.1", "GATEWAY_HOST": "127.0.0.1"}
    process, address = started(command, port, environment)
    yield request.param, address
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture
def service(emulator):
    _, address = emulator
    key = boto3.client("kms", endpoint_url=address, **LOGIN).create_key()["KeyMetadata"]["KeyId"]
    return AwsKms(key, endpoint_url=address, **LOGIN)


class Down:
    """A service that cannot be reached."""

    provider = "aws-kms"
    key = "alias/down"

    def wrap(self, secret, context):
        raise KeyUnavailableError("the KMS key alias/down could not be reached; try again")

    unwrap = wrap


def test_a_repository_opens_by_its_kms_key_and_by_its_second_way(service):
    repository = sealed_repository(kms=[service])
    report = repository.keys.report()
    assert sorted(slot.type for slot in report.slots) == ["kms", "recipient"]
    opened = Repository.open(repository.store, kms=[service])
    assert opened.warnings == ()  # the slot vouches for the authority
    assert opened.keys.report().authority == report.authority
    assert Repository.open(repository.store, identities=[OWN], kms=[Down()]).keys.report().authority == report.authority
    assert Repository.open(repository.store, passphrase="x", kms=[service]).is_encrypted
    with pytest.raises(KeyUnavailableError) as caught:
        Repository.open(repository.store, kms=[Down()])
    assert caught.value.exit_code == ExitCode.KEY_UNAVAILABLE
    later = repository.keys.add(kms=[service], label="again")
    assert [slot.type for slot in later.added] == ["kms"]
    assert Repository.open(repository.store, kms=[service]).keys.report().generation == 2


def test_another_key_another_slot_and_another_repository_are_refused(service, emulator):
    repository = sealed_repository(kms=[service])
    address = emulator[1]
    other = boto3.client("kms", endpoint_url=address, **LOGIN).create_key()["KeyMetadata"]["KeyId"]
    if emulator[0] == "moto":  # the other one does not compare the key that it is asked for with that of the ciphertext
        with pytest.raises(WrongKeyError):
            Repository.open(repository.store, kms=[AwsKms(other, endpoint_url=address, **LOGIN)])
    elsewhere = sealed_repository(kms=[service])
    kept, foreign = objects(repository.store), kms_slot(objects(elsewhere.store))
    put_back(repository.store, with_slot(kept, lambda slot: {**slot, "kms": foreign["kms"]}))
    with pytest.raises(WrongKeyError):  # bound to its repository and slot
        Repository.open(repository.store, kms=[service])
    put_back(repository.store, kept)


def test_a_tampered_secret_and_a_disabled_key_are_refused(service, emulator):
    repository = sealed_repository(kms=[service])
    kept = objects(repository.store)
    for at in (8, 60, -8):

        def tampered(slot, at=at):
            text = slot["kms"]["wrapped"]
            flipped = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            return {**slot, "kms": {**slot["kms"], "wrapped": flipped}}

        put_back(repository.store, with_slot(kept, tampered))
        if emulator[0] == "ministack":
            # It accepts what was tampered with: either the secret is the same, or the slot's recipient tells that not.
            with contextlib.suppress(WrongKeyError):
                assert Repository.open(repository.store, kms=[service]).keys.report().generation == 1
            continue
        with pytest.raises(WrongKeyError, match="refused to decrypt"):
            Repository.open(repository.store, kms=[service])
    put_back(repository.store, kept)
    if emulator[0] == "ministack":  # moto decrypts with a disabled key
        boto3.client("kms", endpoint_url=emulator[1], **LOGIN).disable_key(KeyId=service.key)
        with pytest.raises(WrongKeyError, match="refused to decrypt"):
            Repository.open(repository.store, kms=[service])


def test_a_kms_key_needs_a_second_way_unless_it_is_meant(service):
    with pytest.raises(InvalidArgumentError, match="KMS key alone"):
        Repository.create(MemoryStore(), kms=[service])
    with pytest.raises(InvalidArgumentError, match="leave out one of them"):
        Repository.create(MemoryStore(), kms=[service], encryption="none")
    alone = Repository.create(MemoryStore(), kms=[service], kms_alone=True)
    assert [slot.type for slot in alone.keys.report().slots] == ["kms"]
    assert Repository.open(alone.store, kms=[service]).is_encrypted


def test_a_service_that_is_not_there_is_told_in_time():
    nobody = AwsKms("alias/x", endpoint_url=f"http://127.0.0.1:{free_port()}", **LOGIN)
    start = time.monotonic()
    with pytest.raises(KeyUnavailableError, match="could not be reached"):
        sealed_repository(kms=[nobody])
    assert time.monotonic() - start < 20


def test_a_provider_that_is_not_known_is_refused_and_one_of_a_repository_passed_over(service):
    assert service_of("aws-kms:alias/backups").key == "alias/backups"
    for text in ("gcp:x", "aws-kms", "aws-kms:", "file:///etc/passwd"):
        with pytest.raises(InvalidArgumentError):
            service_of(text)
    repository = sealed_repository(kms=[service])
    kept = objects(repository.store)
    put_back(
        repository.store, with_slot(kept, lambda slot: {**slot, "kms": {**slot["kms"], "provider": "http://evil"}})
    )
    with pytest.raises(KeyNeededError):
        Repository.open(repository.store, kms=[service])
    assert Repository.open(repository.store, identities=[OWN]).is_encrypted


def kms_slot(kept):
    slots = [decode_record(data, place=name) for name, data in kept.items() if name.startswith("keys/")]
    return next(slot for slot in slots if slot.get("type") == "kms")


def with_slot(kept, change):
    changed = {}
    for name, data in kept.items():
        record = decode_record(data, place=name) if name.startswith("keys/") else {}
        changed[name] = encode_record(change(record)) if record.get("type") == "kms" else data
    return changed


def test_the_command_line_takes_a_key_of_the_service(emulator, tmp_path):
    address = emulator[1]
    key = boto3.client("kms", endpoint_url=address, **LOGIN).create_key()["KeyMetadata"]["KeyId"]
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": address,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }

    def vark(*arguments):
        command = [sys.executable, "-m", "vark", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)

    made = vark("init", tmp_path / "r", "--kms", f"aws-kms:{key}", "--recipient", RECIPIENT)
    assert made.returncode == 0, made.stderr
    (tmp_path / "f").write_bytes(b"x" * 1000)
    done = vark("backup", "-r", tmp_path / "r", "--kms", f"aws-kms:{key}", tmp_path / "f")
    assert done.returncode == 0, done.stderr
    shown = vark("verify", "-r", tmp_path / "r", "--kms", f"aws-kms:{key}")
    assert shown.returncode == 0, shown.stderr
    shown = vark("cat", "latest", "no-such-stream", "-r", tmp_path / "r", "--kms", f"aws-kms:{key}")
    assert "not in" in shown.stderr  # it was opened: only the name is wrong
    environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
    down = vark("snapshots", "-r", tmp_path / "r", "--kms", f"aws-kms:{key}")
    assert down.returncode == ExitCode.KEY_UNAVAILABLE
    assert "could not be reached" in down.stderr
