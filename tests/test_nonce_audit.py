"""No (key, nonce) pair twice, over many objects: keys are derived again from what was written, by the reference reader.

VARK_OBJECTS: how many; 100000 for the figure of a release.
"""

import os
from uuid import UUID

import numpy as np
import pytest
import reader
import reader_keyring
import reader_seal

import vark
from sealed_repositories import OWN, sealed_repository
from vark.repository.fields import new_salt
from vark.stores import LocalStore

OBJECTS = int(os.environ.get("VARK_OBJECTS", "1500"))


@pytest.fixture
def keyrings(tmp_path):
    """The keyring of the engine and of the reference reader, over three epochs."""
    repository = sealed_repository(LocalStore(tmp_path / "r"))
    repository.keys.new_epoch()
    repository.keys.new_epoch()
    return repository._context.keys.keyring, reader_keyring.Keyring(tmp_path / "r", repository.id, [OWN])


def test_no_key_and_nonce_are_used_twice(keyrings, tmp_path):
    keyring, reference = keyrings
    seen, counted = set(), {"records": 0, "archives": 0, "parts": 0}

    def note(key, kind, stream=0, chunk=0):
        pair = (key, reader_seal.nonce(kind, stream, chunk))
        assert pair not in seen
        seen.add(pair)
        counted["parts"] += 1

    # The same record and the same archive id again and again: only salts can tell their keys apart.
    record, archive_id = bytes.fromhex(new_salt()), UUID(int=7 << 76 | 2 << 62)
    for _ in range(OBJECTS * 9 // 10):
        new = keyring.new_record(record)
        binding = reader_seal.Binding(new.suite, reader_seal.RECORD, new.epoch, reference.repository, record)
        key = reader_seal.ObjectKey(reference.epoch_roots[new.epoch], bytes(new.salt), binding)
        assert key.commitment == bytes(new.commitment)
        note(key.key, reader_seal.BODY)
        counted["records"] += 1
    rows = np.zeros((50, 8), np.float32)
    for _ in range(OBJECTS // 10):
        path = tmp_path / "a.vark"
        vark.write_archive(rows, path, archive_id=archive_id, keyring=keyring, sync=False, replace=True)
        with reader.Archive(path, epoch_roots=reference.epoch_roots) as archive:
            key = archive.seal.key(0).key
            note(key, reader_seal.DIRECTORY)
            note(key, reader_seal.METADATA)
            for block in range(archive.block_count):
                note(key, reader_seal.INDEX_BLOCK, 0, block)
            for number, stream in enumerate(archive.streams):
                for chunk in range(stream.chunk_count):
                    note(key, reader_seal.BLOCK, number, chunk)
        counted["archives"] += 1
    assert len(seen) == counted["parts"]
    print("no pair twice:", counted)
