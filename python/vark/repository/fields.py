"""Strict JSON of records: bytes in, checked values out; whatever is odd is refused before it is used."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any, NoReturn

from vark.errors import DamagedError, InvalidArgumentError, UnsupportedError
from vark.names import name_fault
from vark.repository.digest import digest_hex

RECORD_BYTES_MAX = 1 << 20
INTEGER_MAX = (1 << 63) - 1
UNIX_MS_MAX = 253_402_300_799_999  # the end of the year 9999: later times have no month to be filed under
TEXT_BYTES_MAX = 1024
LABEL_BYTES_MAX = 255
TAGS_MAX = 64
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def encode_record(values: Mapping[str, Any]) -> bytes:
    """Return a record as its bytes: sorted keys, no blanks. Errors: InvalidArgumentError (too large, not UTF-8)."""
    try:
        data = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise InvalidArgumentError(f"record: {error}; names and tags are UTF-8 text") from error
    if len(data) > RECORD_BYTES_MAX:
        raise InvalidArgumentError(f"record: {len(data)} bytes; at most {RECORD_BYTES_MAX}: name less in one")
    return data


def decode_record(data: bytes, *, place: str) -> dict[str, Any]:
    """Return the JSON object in `data`: UTF-8, no key twice, integers of 64 bits, nothing deeply nested.

    Errors: DamagedError.
    """

    def refuse(detail: str) -> NoReturn:
        raise DamagedError(f"{place}: {detail}; restore this object from another copy", layer="record")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            refuse("a key is there twice")
        return found

    def integer(text: str) -> int:
        if len(text) > 20 or abs(int(text)) > INTEGER_MAX or text == "-0":
            refuse("an integer is out of range")
        return int(text)

    def number(text: str) -> NoReturn:
        refuse(f"{text[:20]} is no integer")

    if len(data) > RECORD_BYTES_MAX:
        refuse(f"{len(data)} bytes; a record has at most {RECORD_BYTES_MAX}")
    try:
        text = data.decode()
        values = json.loads(text, object_pairs_hook=pairs, parse_int=integer, parse_float=number, parse_constant=number)
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair decodes, but is no text
    except (UnicodeError, json.JSONDecodeError, RecursionError) as error:
        refuse(f"not JSON ({type(error).__name__})")
    if not isinstance(values, dict):
        refuse("no JSON object")
    return values


def encode_digested(values: Mapping[str, Any]) -> bytes:
    """Return a record whose name is not its content, with a digest of itself inside."""
    return encode_record({**values, "digest": digest_hex(encode_record(values))})


def split_digested(data: bytes, *, place: str) -> dict[str, Any]:
    """Return the values of such a record after comparing its digest, without it. Errors: DamagedError."""
    values = decode_record(data, place=place)
    fields = Fields(values, place=place)
    found = fields.hexadecimal("digest", 64)
    rest = {key: value for key, value in values.items() if key != "digest"}
    if encode_digested(rest) != data or digest_hex(encode_record(rest)) != found:
        fields.refuse("its digest is another, or it is not in the canonical form")
    return rest


def new_salt() -> str:
    """Return what makes the content, and so the name, of a record unique."""
    return secrets.token_hex(16)


class Fields:
    """The fields of one JSON object, each read once with its rule. Errors of all methods: DamagedError."""

    def __init__(self, values: Any, *, place: str) -> None:
        self.place = place
        if not isinstance(values, dict):
            self.refuse("expected an object")
        self.values: dict[str, Any] = values

    def refuse(self, detail: str) -> NoReturn:
        """Refuse the record."""
        raise DamagedError(f"{self.place}: {detail}; restore this object from another copy", layer="record")

    def check_kind(self, *kinds: str, version: int = 1) -> str:
        """Return the kind. Errors: UnsupportedError for a kind or version that this reader does not know."""
        kind, found = self.text("kind"), self.integer("version")
        if kind not in kinds or found != version:
            raise UnsupportedError(f"{self.place}: kind {kind!r}, version {found}; install a newer vark")
        return kind

    def integer(self, key: str, low: int = 0, high: int = INTEGER_MAX) -> int:
        """Return an integer in low ..= high."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.refuse(f"{key}: expected an integer, {low} to {high}")
        return value

    def unix_ms(self, key: str) -> int:
        """Return a time in milliseconds since 1970."""
        return self.integer(key, 0, UNIX_MS_MAX)

    def optional_unix_ms(self, key: str) -> int | None:
        """Return a time, or None for null or no such key."""
        return None if self.values.get(key) is None else self.unix_ms(key)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            self.refuse(f"{key}: expected true or false")
        return value

    def text(self, key: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
        """Return a text."""
        value = self.values.get(key)
        if not isinstance(value, str) or len(value.encode()) > bytes_max:
            self.refuse(f"{key}: expected a text of at most {bytes_max} bytes")
        return value

    def label(self, key: str) -> str:
        """Return a name for people: one line, printable."""
        value = self.text(key, LABEL_BYTES_MAX)
        fault = label_fault(value)
        if fault is not None:
            self.refuse(f"{key}: {fault}")
        return value

    def shard(self, key: str) -> str:
        """Return the name of a shard, which becomes a folder; empty where a snapshot has one archive only."""
        value = self.text(key, LABEL_BYTES_MAX)
        if value and name_fault(value) is not None:
            self.refuse(f"{key}: {name_fault(value)}")
        return value

    def hexadecimal(self, key: str, digits: int) -> str:
        """Return lower-case hexadecimal digits."""
        return self._check_hexadecimal(self.values.get(key), key, digits)

    def optional_hexadecimal(self, key: str, digits: int) -> str | None:
        """Return hexadecimal digits, or None for null or no such key."""
        return None if self.values.get(key) is None else self.hexadecimal(key, digits)

    def hexadecimals(self, key: str, digits: int, *, unique: bool = True) -> tuple[str, ...]:
        """Return a list of hexadecimal numbers, by default none twice."""
        found = tuple(self._check_hexadecimal(item, key, digits) for item in self.items(key))
        if unique and len(set(found)) != len(found):
            self.refuse(f"{key}: one is there twice")
        return found

    def uuid(self, key: str) -> str:
        """Return an id of an archive in its usual form."""
        value = self.values.get(key)
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            self.refuse(f"{key}: expected a UUID in lower case")
        return value

    def optional_uuid(self, key: str) -> str | None:
        """Return an id of an archive, or None for null or no such key."""
        return None if self.values.get(key) is None else self.uuid(key)

    def items(self, key: str) -> list[Any]:
        """Return a list."""
        value = self.values.get(key)
        if not isinstance(value, list):
            self.refuse(f"{key}: expected a list")
        return value

    def object(self, key: str) -> dict[str, Any]:
        """Return an object as it is."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            self.refuse(f"{key}: expected an object")
        return value

    def tags(self, key: str) -> dict[str, str]:
        """Return tags: label -> label."""
        value = self.object(key)
        fault = tags_fault(value)
        if fault is not None:
            self.refuse(f"{key}: {fault}")
        return value

    def parts(self, key: str) -> list[Fields]:
        """Return a list of objects."""
        return [Fields(item, place=f"{self.place}: {key} {number}") for number, item in enumerate(self.items(key))]

    def _check_hexadecimal(self, value: Any, key: str, digits: int) -> str:
        if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
            self.refuse(f"{key}: expected {digits} hexadecimal digits")
        return value


def label_fault(text: str) -> str | None:
    """Return why `text` may not name a snapshot or a tag, or None when it may."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "not valid UTF-8"
    if not 1 <= len(encoded) <= LABEL_BYTES_MAX:
        return f"expected 1 to {LABEL_BYTES_MAX} bytes"
    if not text.isprintable() or text != text.strip():
        return "expected printable text without blanks around it"
    return None


def tags_fault(tags: Mapping[Any, Any]) -> str | None:
    """Return why these may not be the tags of a snapshot, or None when they may."""
    if len(tags) > TAGS_MAX:
        return f"{len(tags)} tags; at most {TAGS_MAX}"
    for key, value in tags.items():
        for text in (key, value):
            if not isinstance(text, str):
                return "a tag that is no text"
            fault = label_fault(text)
            if fault is not None:
                return f"tag {key!r}: {fault}"
        if "=" in key:
            return f"tag {key!r}: no '=' in its key"
    return None
