"""The rule for names of documents, attachments and components of member names (specification, section 8)."""

from __future__ import annotations

from vark.errors import InvalidArgumentError

NAME_BYTES_MAX = 255
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL"} | {f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10)})


def name_fault(name: str) -> str | None:
    """Return why `name` may not be one component of a path in an archive, or None when it may."""
    if name in ("", ".", ".."):
        return "an empty name, '.' or '..'"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "not valid UTF-8"
    if len(encoded) > NAME_BYTES_MAX:
        return f"longer than {NAME_BYTES_MAX} bytes"
    if any(letter in "/\\:" or ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        return "has a '/', '\\', ':' or control character"
    if name.split(".", maxsplit=1)[0].rstrip(" ").upper() in _DEVICES:
        return "a device name of Windows"
    return None


def check_name(name: str, *, what: str) -> str:
    """Return `name` when it obeys the rule. Errors: InvalidArgumentError."""
    fault = name_fault(name)
    if fault is not None:
        raise InvalidArgumentError(f"{what} {name!r}: {fault}; give it another name")
    return name


def printable(name: str) -> str:
    """Return `name` such that it can be stored as UTF-8 text and shown on a terminal."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
