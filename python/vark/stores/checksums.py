"""Whether a store compares what it is sent with a checksum: one that is wrong is sent along, and must be refused."""

from __future__ import annotations

import base64
import hashlib
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any

TIMEOUT_SECONDS = 30
_DATA = b"bytes that do not fit their checksum"


def refuses_wrong_checksum(library: Any, store: Any, name: str) -> bool | None:
    """Put bytes with the MD5 of others, by a signed address, for obstore sends no header of ours.

    Return whether they were refused; None where that could not be tried.
    """
    wrong = base64.b64encode(hashlib.md5(b"others", usedforsecurity=False).digest()).decode()
    try:
        address = library.sign(store, "PUT", name, timedelta(minutes=5))
        request = urllib.request.Request(address, data=_DATA, method="PUT", headers={"Content-MD5": wrong})  # noqa: S310
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()  # noqa: S310 - the store's own address
    except urllib.error.HTTPError as error:
        return True if error.code == 400 else None
    except Exception:  # stores that sign nothing, proxies, certificates
        return None
    return False
