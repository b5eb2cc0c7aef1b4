"""The checks behind test_tidy: each takes texts and returns the faults it finds, one sentence each."""

import ast
import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
SKIPPED_FOLDERS = {"target", "node_modules", "dist", "build", "artifacts", "corpus", "coverage", "results"}
UNSAFE_ALLOWED = ("rust/core/src/kernels/*", "rust/core/src/sys.rs", "rust/python/src/buffers.rs")
CORE_ALLOWED = (
    "__init__.py",
    "api.py",
    "archive.py",
    "views.py",
    "sources.py",
    "adapters/base.py",
    "keys.py",
    "erasing.py",
    "repository/digest.py",
)
# Library -> the one file whose functions may import it.
HEAVY = {
    "faiss": "adapters/faiss_.py",
    "hnswlib": "adapters/hnswlib_.py",
    "pyarrow": "payload.py",
    "rich": "cli/output.py",
}
STRAY_WORDS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(" + "|".join(("tm" + "p/", "wor" + "k/", "ro" + "ot/", "ho" + "me/")) + r")[\w.]"
)
RUST_NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|[^'\\])'""", re.DOTALL
)


def our_files(*suffixes, root=ROOT):
    """Yield (path relative to the root, text) of the project's own files."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        if hidden or SKIPPED_FOLDERS & set(parts) or not path.is_file():
            continue
        if path.suffix in suffixes or path.name in suffixes:
            yield "/".join(parts), path.read_text(encoding="utf-8")


def is_test(path):
    """Return whether a file holds tests only."""
    name = path.rpartition("/")[2]
    return path.startswith("tests/") or "/tests/" in path or name in ("tests.rs", "testing.rs", "conftest.py")


def blank(match):
    """Return the match without its words, with its line breaks."""
    return re.sub(r"[^\n]", " ", match.group())


def rust_code(text):
    """Return Rust source without comments, texts and test modules; lines keep their numbers."""
    code = RUST_NOISE.sub(blank, text)
    for match in reversed(
        list(re.finditer(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*(?:\[[^\]]*\])?[^\]]*\]\s*)*mod\s+\w+\s*\{", code))
    ):
        end = closing_brace(code, match.end() - 1)
        code = code[: match.start()] + re.sub(r"[^\n]", " ", code[match.start() : end]) + code[end:]
    return code


def closing_brace(code, start):
    """Return the position after the brace that closes the one at `start`."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, start):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.end()
    return len(code)


def long_file(path, text):
    count = text.count("\n")
    return [f"{path}: {count} lines; at most {FILE_LINES_MAX}"] if count > FILE_LINES_MAX else []


def long_functions(path, text):
    if is_test(path):
        return []
    spans = rust_functions(text) if path.endswith(".rs") else python_functions(text)
    return [
        f"{path}:{line}: {name} has {count} lines; at most {FUNCTION_LINES_MAX}"
        for name, line, count in spans
        if count > FUNCTION_LINES_MAX
    ]


def rust_functions(text):
    """Yield (name, line, lines) of each function with a body."""
    code = rust_code(text)
    for match in re.finditer(r"\bfn\s+(\w+)", code):
        opening = re.compile(r"[{;]").search(code, match.end())
        if opening is not None and opening.group() == "{":
            end = closing_brace(code, opening.start())
            yield match[1], code.count("\n", 0, match.start()) + 1, code.count("\n", match.start(), end) + 1


def python_functions(text):
    """Yield (name, line, lines without docstring) of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            count = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                count -= first.end_lineno - first.lineno + 1
            yield node.name, node.lineno, count


def rooms_of(architecture):
    """Return room -> rooms it may import, from the table of ARCHITECTURE.md."""
    rooms, above = {}, []
    for row in re.findall(r"^\| (`.*?) \|.*?\| (.*?) \|.*\|$", architecture, re.MULTILINE):
        names = re.findall(r"`(\w+)`", row[0])
        allowed = set(above) if "all above" in row[1] else set(re.findall(r"\w+", row[1]))
        for name in names:
            rooms[name] = allowed | set(names)
        above += names
    return rooms


def rooms_used(path, text):
    """Return the rooms of the core that a file names by `crate::` or `super::`."""
    code = rust_code(text)
    inside = path.removeprefix("rust/core/src/").removesuffix(".rs").split("/")
    depth = len(inside) - (1 if inside[-1] == "mod" else 0)
    up = "super::" * depth
    found = set()
    for match in re.finditer(rf"\bcrate::|(?<![\w:]){up}(?!super)" if depth else r"\bcrate::", code):
        rest = code[match.end() :]
        if rest.startswith("{"):
            group = rest[1 : closing_brace(rest, 0) - 1]
            while re.search(r"\{[^{}]*\}", group):
                group = re.sub(r"\{[^{}]*\}", "", group)
            found |= {part.strip().split("::")[0].split()[0] for part in group.split(",") if part.strip()}
        elif name := re.match(r"\w+", rest):
            found.add(name.group())
    return found


def forbidden_imports(path, text, rooms):
    """Faults of a file of the core against the table of rooms."""
    if not path.startswith("rust/core/src/") or is_test(path) or path.endswith("src/lib.rs"):
        return []
    room = path.removeprefix("rust/core/src/").split("/")[0].removesuffix(".rs")
    if room not in rooms:
        return [f"{path}: room `{room}` is not in the table of ARCHITECTURE.md"]
    wrong = sorted(name for name in rooms_used(path, text) & set(rooms) if name not in rooms[room])
    faults = [f"{path}: `{room}` imports `{name}`, which ARCHITECTURE.md does not allow" for name in wrong]
    return faults + ([f"{path}: pyo3 in the core"] if "pyo3" in rust_code(text) else [])


def python_imports(path, text):
    """Faults of a file of the Python layer: who may import the binding, and heavy libraries only where they are used."""
    inside = path.removeprefix("python/vark/")
    if inside == path:
        return []
    tree = ast.parse(text)
    top = {id(node) for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))}
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            top -= {id(node) for node in ast.walk(function)}
    faults = []
    for node in ast.walk(tree):
        for module in modules_of(node):
            library = module.split(".")[0]
            if module.startswith("vark._core") and inside not in CORE_ALLOWED and not path.endswith(".pyi"):
                faults.append(f"{path}:{node.lineno}: imports the binding; allowed in {CORE_ALLOWED}")
            if library in HEAVY and inside != HEAVY[library]:
                faults.append(f"{path}:{node.lineno}: imports {library}; only {HEAVY[library]} may")
            elif library in HEAVY and id(node) in top:
                faults.append(f"{path}:{node.lineno}: imports {library} at the top; import it inside the function")
    return faults


def modules_of(node):
    """Return the modules that an import names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        module = node.module or ""
        return [f"vark.{alias.name}" for alias in node.names] if module == "vark" else [module]
    return []


def unsafe_code(path, text):
    if any(fnmatch.fnmatch(path, pattern) for pattern in UNSAFE_ALLOWED):
        return []
    code = RUST_NOISE.sub(blank, text)
    return [
        f"{path}:{number}: unsafe; allowed in {UNSAFE_ALLOWED}"
        for number, line in enumerate(code.splitlines(), 1)
        if re.search(r"\bunsafe\b", line)
    ]


def stray_words(path, text):
    return [
        f"{path}:{number}: {match.group()!r}; finish it, or open an issue, or name nothing of one machine"
        for number, line in enumerate(text.splitlines(), 1)
        for match in (STRAY_WORDS.search(line), MACHINE_PATHS.search(line))
        if match
    ]


def dead_paths(path, text, *, root=ROOT):
    """Faults of a document that names a file or folder which does not exist (relative to the root or to itself)."""
    tops = {entry.name for entry in root.iterdir()}
    named = set(re.findall(r"`([\w.*-]+(?:/[\w.*-]+)*/?)`", text))
    named |= {link for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text) if not link.startswith("/")}
    faults = []
    for name in sorted(named):
        candidate = name.rstrip("/")
        is_path = (("/" in name and name.split("/")[0] in tops) or name.endswith(".md")) and name.upper() != name
        made = SKIPPED_FOLDERS & set(candidate.split("/"))  # what a recipe makes is not there on a fresh machine
        starts = (root, (root / path).parent)
        if is_path and not made and not any(list(start.glob(candidate)) for start in starts):
            faults.append(f"{path}: names `{name}`, which does not exist")
    return faults
