"""What the specification says in tables is what the code says in constants."""

import re

import pytest

import tidy
from vark.errors import ERROR_CLASSES
from vark.names import NAME_BYTES_MAX
from vark.types import DTYPES

SPEC = tidy.ROOT / "spec"
CORE = tidy.ROOT / "rust" / "core" / "src"


def constants_of(text):
    """Return name -> number of the `pub const`s of a Rust file; a value may be a sum or product of others."""
    values = {}
    for name, expression in re.findall(r"pub const (\w+): \w+ = ([^;]+);", text):
        numbers = re.sub(r"\b[A-Z]\w*\b", lambda match: str(values[match.group()]), expression)
        numbers = re.sub(r"(?<=\d)_(?=\d)", "", numbers)
        assert re.fullmatch(r"[\d\s+*()<-]+", numbers), f"{name}: {expression}"
        values[name] = eval(numbers, {"__builtins__": {}})
    return values


def limits_of(text):
    """Return name -> number of the table of LIMITS.md."""
    rows = re.findall(r"^\| *`?(\w+)`? *\| *([\d,_]+)[^|]*\|", text, re.MULTILINE)
    return {name: int(re.sub("[,_]", "", value)) for name, value in rows}


def section(text, title):
    """Return the part of a specification under a heading, up to the next one."""
    start = text.index(title)
    end = re.compile(r"^#+ ", re.MULTILINE).search(text, start + len(title))
    return text[start : end.start() if end else None]


def cells(text):
    return re.findall(r"\| (\d+) \| (\w+)(?: \(reserved\))?(?= \|)", text)


def arms(text, value):
    """Return variant -> value of the arms `Self::Variant => value` of a Rust match."""
    return dict(re.findall(rf"Self::(\w+) => {value},", text))


FORMAT = (SPEC / "FORMAT.md").read_text()
STREAM = (CORE / "stream.rs").read_text()
ERROR = (CORE / "error.rs").read_text()


def test_limits_are_those_of_the_code():
    code = {name.lower(): value for name, value in constants_of((CORE / "limits.rs").read_text()).items()}
    assert code["entry_bytes"] == 72
    assert limits_of((SPEC / "LIMITS.md").read_text()) == code
    assert code["name_component_bytes_max"] == NAME_BYTES_MAX


def test_roles_are_those_of_the_code():
    table = section(STREAM, "const ROLES")
    code = re.findall(r'\((\d+), "(\w+)"\)', table[: table.index("];")])
    spec = cells(section(FORMAT, "### 5.1"))
    assert sorted(spec, key=lambda row: int(row[0])) == code
    assert len(code) >= 20


def test_element_types_are_those_of_the_code_and_of_numpy():
    code = re.findall(r'\((\d+), ElementType::\w+, "(\w+)", (\d+)\)', STREAM)
    spec = re.findall(r"\| (\d+) \| (\w+) \| (\d+)(?= \|)", section(FORMAT, "### 5.2"))
    assert sorted(spec, key=lambda row: int(row[0])) == code
    assert {name: dtype.itemsize for name, dtype in DTYPES.items()} == {name: int(size) for _, name, size in code}


def test_codecs_are_those_of_the_code_and_have_a_page():
    text = tidy.RUST_NOISE.sub(
        lambda match: match.group() if match.group().startswith('"') else "", (CORE / "codec" / "mod.rs").read_text()
    )
    numbers, names = arms(text, r"(\d+)"), arms(text, r'"(\w+)"')
    code = sorted((int(numbers[variant]), names[variant]) for variant in numbers)
    readme = (SPEC / "codecs" / "README.md").read_text()
    spec = [(int(number), name) for number, name in cells(readme) if name != "reserved"]
    assert spec == code
    assert len(code) >= 5
    for _, name in code:
        assert (SPEC / "codecs" / f"{name}.md").is_file()


def test_error_codes_are_those_of_the_engine():
    codes = re.findall(r'Self::\w+ => "([\w-]+)"', section_of_impl(ERROR, "impl ErrorKind"))
    assert codes == list(ERROR_CLASSES)


def test_layers_are_those_of_the_engine():
    code = re.findall(r'Self::\w+ => "([\w-]+)"', section_of_impl(ERROR, "impl Layer"))
    sentence = FORMAT[FORMAT.index("The layer that refuses is one of") :]
    spec = re.findall(r"`(\w+)`", sentence[: sentence.index("Each file")])
    assert sorted(spec) == sorted(code)


def section_of_impl(text, title):
    start = text.index(title)
    return text[start : tidy.closing_brace(text, text.index("{", start))]


# The parsers of this file can fail.


def test_constants_are_read_with_their_sums():
    text = "pub const A: u64 = 65_536;\npub const B: usize = A + 2 * 3;\n"
    assert constants_of(text) == {"A": 65536, "B": 65542}
    with pytest.raises((KeyError, AssertionError)):
        constants_of("pub const A: u64 = other::B;")


def test_tables_are_read_in_both_widths():
    assert cells("| 1 | literal | | 12 | attachment |\n| 33 | id_index (reserved) |") == [
        ("1", "literal"),
        ("12", "attachment"),
        ("33", "id_index"),
    ]
    assert limits_of("| name | value | why |\n|---|---|---|\n| tail_bytes | 65,536 | x |\n| `b` | 7 bytes | y |") == {
        "tail_bytes": 65536,
        "b": 7,
    }
