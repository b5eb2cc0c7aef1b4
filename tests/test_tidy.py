"""The house rules that a machine can check; each check is first shown to fail on something wrong."""

import statistics

import tidy

CODE = (".rs", ".py", ".pyi")
TEXTS = (*CODE, ".md", ".toml", "Makefile", "run")


def faults_of(check, *suffixes):
    return [fault for path, text in tidy.our_files(*suffixes) for fault in check(path, text)]


def test_files_stay_short(capsys):
    lengths = {path: text.count("\n") for path, text in tidy.our_files(*CODE)}
    longest = max(lengths, key=lengths.get)
    with capsys.disabled():
        print(
            f"\n{len(lengths)} files, longest {longest} {lengths[longest]}, median {statistics.median(lengths.values())}"
        )
    assert faults_of(tidy.long_file, *CODE) == []


def test_functions_stay_short():
    assert faults_of(tidy.long_functions, *CODE) == []


def test_rooms_import_only_what_the_architecture_allows():
    rooms = tidy.rooms_of((tidy.ROOT / "ARCHITECTURE.md").read_text())
    assert {"error", "kernels", "codec", "archive", "pipeline"} <= set(rooms)
    assert [fault for path, text in tidy.our_files(".rs") for fault in tidy.forbidden_imports(path, text, rooms)] == []


def test_python_imports_heavy_things_only_where_they_are_used():
    assert faults_of(tidy.python_imports, ".py") == []


def test_unsafe_code_is_fenced():
    assert faults_of(tidy.unsafe_code, ".rs") == []


def test_nothing_is_left_over_and_no_machine_is_named():
    assert faults_of(tidy.stray_words, *TEXTS) == []


def test_documents_name_only_paths_that_exist():
    assert faults_of(tidy.dead_paths, ".md") == []


# The checks can fail.

ROOMS = """
| room | job | may import | must not |
|---|---|---|---|
| `error`, `limits` | x | – | |
| `kernels` | x | – | |
| `codec` | x | error, limits, kernels | y |
| `pipeline` | x | all above | y |
"""


def test_the_file_check_sees_a_long_file():
    assert tidy.long_file("a.rs", "x\n" * 501)
    assert not tidy.long_file("a.rs", "x\n" * 500)


def test_the_function_check_sees_long_functions_in_both_languages():
    rust = "fn long() {\n" + "  x('{', \"}\"); // }\n" * 70 + "}\nfn short() {}\n"
    assert len(tidy.long_functions("rust/a.rs", rust)) == 1
    assert not tidy.long_functions("rust/a.rs", "fn edge() {\n" + "  x();\n" * 68 + "}\n")
    assert not tidy.long_functions("rust/core/src/tests.rs", rust)
    assert not tidy.long_functions("rust/a.rs", "#[cfg(test)]\nmod tests {\n" + rust + "}\n")
    python = "def long():\n" + '    """x\n' + "\n" * 100 + '    """\n' + "    x = 1\n" * 70
    assert len(tidy.long_functions("python/a.py", python)) == 1
    assert not tidy.long_functions("python/a.py", python.replace("    x = 1\n", "", 5))


def test_the_room_check_sees_forbidden_imports_in_every_spelling():
    rooms = tidy.rooms_of(ROOMS)
    assert rooms["codec"] == {"error", "limits", "kernels", "codec"}
    assert rooms["pipeline"] >= {"codec", "error"}
    for text in (
        "use crate::codec::X;",
        "use crate::{kernels::X, codec::{A, B}};",
        "fn f() { crate::codec::g() }",
        "use super::codec;",
    ):
        assert len(tidy.forbidden_imports("rust/core/src/kernels.rs", text, rooms)) == 1, text
    assert tidy.forbidden_imports("rust/core/src/kernels/mod.rs", "use super::codec;", rooms)
    assert tidy.forbidden_imports("rust/core/src/kernels/avx2.rs", "use super::super::codec;", rooms)
    assert not tidy.forbidden_imports("rust/core/src/kernels/avx2.rs", "use super::codec;", rooms)
    assert not tidy.forbidden_imports("rust/core/src/kernels.rs", "// crate::codec\n", rooms)
    assert not tidy.forbidden_imports("rust/core/src/codec/mod.rs", "use crate::error::X;", rooms)
    assert not tidy.forbidden_imports(
        "rust/core/src/kernels.rs", "#[cfg(test)]\nmod tests { use crate::codec::X; }", rooms
    )
    assert tidy.forbidden_imports("rust/core/src/cellar.rs", "", rooms)
    assert tidy.forbidden_imports("rust/core/src/codec/mod.rs", "use pyo3::prelude::*;", rooms)


def test_the_python_import_check_sees_each_kind_of_fault():
    assert tidy.python_imports("python/vark/units.py", "from vark import _core\n")
    assert tidy.python_imports("python/vark/units.py", "def f():\n    from vark._core import Reader\n")
    assert not tidy.python_imports("python/vark/api.py", "from vark import _core\n")
    assert tidy.python_imports("python/vark/api.py", "def f():\n    import faiss\n")
    assert tidy.python_imports("python/vark/adapters/faiss_.py", "import faiss\n")
    assert tidy.python_imports("python/vark/payload.py", "import pyarrow.ipc\n")
    assert not tidy.python_imports("python/vark/adapters/faiss_.py", "def f():\n    import faiss\n")


def test_the_unsafe_check_sees_code_and_not_words():
    assert tidy.unsafe_code("rust/core/src/codec/mod.rs", "let x = unsafe { f() };")
    assert not tidy.unsafe_code("rust/core/src/codec/mod.rs", '// unsafe\n#![deny(unsafe_code)]\nlet x = "unsafe";')
    assert not tidy.unsafe_code("rust/core/src/kernels/avx2.rs", "unsafe { f() }")


def test_the_word_check_sees_left_overs_and_machine_paths():
    assert tidy.stray_words("a.py", "# TO" + "DO: later")
    assert tidy.stray_words("a.rs", "// FIX" + "ME")
    assert tidy.stray_words("a.md", "run /ho" + "me/me/x")
    assert tidy.stray_words("a.md", "in /tm" + "p/x")
    assert not tidy.stray_words("a.md", "a/work/b and autodo")


def test_the_path_check_sees_names_of_files_that_are_gone():
    assert tidy.dead_paths("README.md", "see `rust/core/src/gone.rs`")
    assert tidy.dead_paths("README.md", "see `gone.md`")
    assert tidy.dead_paths("README.md", "see [x](spec/gone.md)")
    assert not tidy.dead_paths("README.md", "see `spec/FORMAT.md`, `spec/codecs/*.md` and [x](spec/FORMAT.md#y)")
    assert not tidy.dead_paths("benchmarks/README.md", "see `results/made.md`")
    assert not tidy.dead_paths("spec/FORMAT.md", "see `codecs/README.md` and `pack/unpack`")
