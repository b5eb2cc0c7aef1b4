"""Obstore with faults: some requests fail before they arrive, some after they have been done, as a network does it."""

import random

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError

BEFORE = {
    "refused": lambda: GenericError(
        "Generic S3 error: Error performing PUT http://x in 1ms - HTTP error: error sending"
    ),
    "429": lambda: GenericError("Server returned non-2xx status code: 429 Too Many Requests: SlowDown"),
    "500": lambda: GenericError("Server returned non-2xx status code: 500 Internal Server Error"),
    "503": lambda: GenericError("Server returned non-2xx status code: 503 Service Unavailable: SlowDown"),
    "409": lambda: AlreadyExistsError("already exists: Server returned non-2xx status code: 409 Conflict"),
    "412": lambda: AlreadyExistsError("already exists: Server returned non-2xx status code: 412 Precondition Failed"),
}
AFTER = {
    "lost": lambda: GenericError("Generic S3 error: HTTP error: operation timed out"),
    "504": lambda: GenericError("Server returned non-2xx status code: 504 Gateway Timeout"),
    "cut": lambda: GenericError("Generic S3 error: error decoding response body"),
}
ALL = (*BEFORE, *AFTER)


class FaultyLibrary:
    """The functions of obstore that the store uses; the first request of each always fails.

    share: of requests that fail; kinds: of faults; only: operations.
    """

    def __init__(self, *, share=0.3, seed=1, kinds=ALL, only=("put", "get", "get_range", "head", "list", "delete")):
        self.share = share
        self.kinds = kinds
        self.only = only
        self.failed = []
        self._called = set()
        self._random = random.Random(seed)

    def __getattr__(self, name):
        call = getattr(obstore, name)
        if name not in self.only:
            return call

        def faulty(*arguments, **options):
            is_first = self.share > 0 and name not in self._called
            self._called.add(name)
            fails = is_first or self._random.random() < self.share
            kind = self._random.choice(self.kinds) if fails else None
            if kind is not None:
                self.failed.append((name, kind))
            if kind in BEFORE:
                raise BEFORE[kind]()  # noqa: RSE102 - a new one
            result = call(*arguments, **options)
            if name == "list":
                result = list(result)
            if kind is not None:
                raise AFTER[kind]()  # noqa: RSE102
            return result

        return faulty
