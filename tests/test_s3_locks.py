"""Object lock of S3: what boto3 says is read with care, asked again where the store is busy, counted and limited."""

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from vark.errors import StorageError, StoreUnavailableError
from vark.stores import LockRules, urls
from vark.stores.counts import Counts
from vark.stores.pace import NO_LIMITS, Paces
from vark.stores.s3_locks import S3Locks


class Client:
    """Answers for boto3's client, and how many requests there were. failures: what comes first, in order."""

    def __init__(self, *failures, **answers):
        self.failures, self.answers, self.asked = list(failures), answers, []

    def __getattr__(self, what):
        def answer(**_fields):
            self.asked.append(what)
            if self.failures:
                raise self.failures.pop(0)
            return self.answers[what]

        return answer


def s3_locks_of(client, **more):
    locks = S3Locks({"bucket": "b"}, None, provider=None, place="s3://b", **{"counts": Counts(), **more})
    locks.__dict__["_client"] = client
    return locks


ENABLED = {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}


def test_what_an_s3_store_says_of_retention_is_read_with_care():
    until = datetime(2030, 1, 1, tzinfo=UTC)

    def said(**retention):
        client = Client(get_object_lock_configuration=ENABLED, get_object_retention=retention)
        return s3_locks_of(client).retained("a")

    assert said(Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}).mode == "compliance"
    assert said() is None
    assert said(Retention={}) is None
    with pytest.raises(StorageError, match="expected governance or compliance"):
        said(Retention={"Mode": "FOREVER", "RetainUntilDate": until})


def test_objects_of_a_bucket_without_lock_are_not_asked_about():
    client = Client(get_object_lock_configuration={})
    locks = s3_locks_of(client)
    assert [locks.retained(name) for name in "abc"] == [None] * 3
    assert client.asked == ["get_object_lock_configuration"]


def test_requests_about_locks_are_limited_like_all_others():
    asked = []

    class Paced(Paces):
        def ask(self, request_count=1):
            asked.append(request_count)

    client = Client(get_object_lock_configuration=ENABLED, get_object_retention={})
    s3_locks_of(client, paces=Paced(NO_LIMITS)).retained("a")
    assert asked == [1, 1]


def refusal(status, code):
    reply = {"Error": {"Code": code} if code else {}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(reply, "any")


BUSY = [
    refusal(429, "TooMany"),
    refusal(412, "Odd"),
    refusal(503, ""),
    refusal(400, "RequestTimeout"),
    EndpointConnectionError(endpoint_url="https://user:secret@host"),
]


def test_what_a_busy_store_says_of_locks_is_asked_again_once_each_and_counted():
    counts = Counts()
    client = Client(*BUSY, get_object_lock_configuration={})
    attempts = [*[False] * len(BUSY), True]
    assert s3_locks_of(client, counts=counts, attempts=lambda: iter(attempts)).retained("a") is None
    assert len(client.asked) == counts.total().gets == len(attempts)


@pytest.mark.parametrize("failure", BUSY)
def test_a_store_that_stays_busy_is_given_up_at_the_last_attempt(failure):
    client = Client(*[failure] * 9)
    with pytest.raises(StoreUnavailableError, match="no usable reply") as caught:
        s3_locks_of(client, attempts=lambda: iter([False, False, True])).rules()
    assert len(client.asked) == 3
    assert "secret" not in str(caught.value)


def test_what_is_no_matter_of_time_is_asked_once():
    ever = [False] * 9
    client = Client(refusal(403, "AccessDenied"), refusal(409, "InvalidBucketState"))
    assert s3_locks_of(client, attempts=lambda: iter(ever)).rules() == LockRules(None, None)
    assert len(client.asked) == 2
    client = Client(NoCredentialsError())
    with pytest.raises(StoreUnavailableError, match="NoCredentialsError"):
        s3_locks_of(client, attempts=lambda: iter(ever)).rules()
    assert len(client.asked) == 1


def test_requests_about_locks_are_repeated_by_the_store_and_by_nothing_below(monkeypatch):
    options = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "retry": "0s"}
    store = urls.open_store("s3://bucket/prefix", options)
    assert store.locks._client.meta.config.retries["total_max_attempts"] == 1
    client = Client(BUSY[0])
    store.locks.__dict__["_client"] = client
    with pytest.raises(StoreUnavailableError):
        store.locks.rules()
    assert len(client.asked) == 1


def test_what_asks_about_locks_goes_by_the_proxy_of_the_store():
    options = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "limit_upload": "56MB"}
    store = urls.open_store("s3://bucket/prefix", {**options, "allow_http": "true"})
    proxies = store.locks._client.meta.config.proxies
    assert proxies["https"] == store._store.client_options["proxy_url"]
