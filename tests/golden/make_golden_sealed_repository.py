"""Add the golden encrypted repository if it is missing; never touch one that is there.

    python tests/golden/make_golden_sealed_repository.py

Four days of a small graph and a matrix, an age key and a recovery code (both in the JSON beside it), a key that was
removed, a second epoch, a signer, a snapshot by a write-only client, one that was re-encrypted by nobody.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from blake3 import blake3
from make_golden_repository import days

import vark
from vark.keys import new_identity, new_recovery_code

HERE = Path(__file__).resolve().parent
NAME = "v1.2_sealed_repository"


def main():
    """Write the repository, what opens it, and what it must restore to."""
    target = HERE / NAME
    if target.exists():
        raise SystemExit(f"{target} exists; golden repositories are never made anew")
    (identity, recipient), (_, gone), code = new_identity(), new_identity(), new_recovery_code()
    expected = {}
    with tempfile.TemporaryDirectory() as name:
        os.environ["VARK_STATE"] = name + "/state"
        source = Path(name) / "index"
        source.mkdir()
        made = vark.Repository.create(target, recipients=[recipient], recovery_code=code)
        for number, day in enumerate(days(source)):
            if number == 4:
                break
            repository = made
            if number == 1:
                made.keys.add(recipients=[gone], label="gone")
                made.keys.remove("gone")
            if number == 3:
                signer = made.keys.add_signer("host", write_only=True)
                repository = vark.Repository.open(target, signer=signer.content)
            report = repository.backup(source, name="index", tags={"day": day}, cache=False)
            files = {path.name: blake3(path.read_bytes()).hexdigest() for path in sorted(source.iterdir())}
            expected[report.snapshot] = {"day": day, "members": files, "base": report.archives[0].base is not None}
        made.hold(next(iter(expected)), reason="golden")
    content = {"identity": identity, "recovery_code": code, "authority": made.keys.report().authority}
    (HERE / f"{NAME}.json").write_text(json.dumps({**content, "snapshots": expected}, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(target / "sessions", ignore_errors=True)


if __name__ == "__main__":
    main()
