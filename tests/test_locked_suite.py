"""A sample of the repository suite on locked stores; `make locked` runs all of it."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

import locked_suite
import tidy
from store_servers import program

# The heavy ones, and those of simulated disks, are left to `make locked`.
MODULES = ("", "_collect", "_diff", "_erase_cases", "_promises", "_records", "_verify")
SHARE = {"locked-memory": 6, "locked-bucket": 14}


@pytest.mark.parametrize("kind", locked_suite.KINDS)
def test_a_sample_of_the_suite_needs_no_delete_and_no_overwrite(kind):
    if locked_suite.is_on():
        pytest.skip("runs inside of itself")
    if kind == "locked-bucket" and (program("weed") is None or importlib.util.find_spec("boto3") is None):
        pytest.skip("weed is not installed; `make servers` has it")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [f"tests/test_repository{module}.py" for module in MODULES],
        cwd=tidy.ROOT,
        env={**os.environ, "VARK_TEST_STORE": kind, "VARK_ONE_OF": str(SHARE[kind])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    found = re.search(rf"{kind}: (\d+) tests on locked stores, (\d+) of them ended at the refusal", done.stdout)
    print(found.group())
    assert int(found[1]) >= 4
