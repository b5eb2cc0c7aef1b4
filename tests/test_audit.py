"""Audit: copies are told by what they are of, counted by the rule, and what is lacking is said."""

import json
import os

import numpy as np
import pytest

from sealed_repositories import OTHER, OWN
from test_cli import lines, run
from test_copies import day, new, with_days
from test_mirrors import archive_names, damage
from vark import sync_repository
from vark.audit import AuditRule, PlaceFacts, audit_repositories, facts_of, read_audit_config
from vark.errors import InvalidArgumentError, NotFoundError
from vark.repository import Repository
from vark.stores import LocalStore, MemoryStore, open_store


def audit(*places, **rule):
    """places: (name, repository, medium, off site)."""
    facts = [(PlaceFacts(name, medium, offsite), repository) for name, repository, medium, offsite in places]
    return audit_repositories(facts, AuditRule(**rule))


def three():
    """A repository at home, a copy with keys of its own, and a mirror."""
    home, copied, mirror = with_days("plain", 2), new("sealed"), MemoryStore()
    home.copy_to(copied)
    sync_repository(home.store, mirror)
    return home, copied, Repository.open(mirror)


def test_three_copies_on_two_media_one_of_them_off_site():
    home, copied, mirror = three()
    places = [("h", home, "disk", False), ("c", copied, "cloud", True), ("m", mirror, "disk", False)]
    report = audit(*places)
    assert report.ok
    [source] = report.sources
    assert (source.name, source.copy_count, source.media, source.offsite_count) == ("days", 3, ("cloud", "disk"), 1)
    assert [item.relation for item in source.copies] == ["home", "copy", "mirror"]
    assert source.copies[1].copy_of == home.id
    assert len({item.snapshot for item in source.copies}) == 1
    assert all(item.behind_seconds == 0 and item.age_seconds >= 0 for item in source.copies)
    # A copy is read where it arrives; at home nobody has verified anything yet.
    assert [item.verified_unix_ms is None for item in source.copies] == [True, False, True]
    home.verify()
    assert audit(*places).sources[0].copies[0].verified_unix_ms is not None


@pytest.mark.parametrize(
    ("chosen", "lacking"),
    [
        ("hm", ("2 of 3 copies", "1 of 2 media", "0 of 1 off site")),
        ("hc", ("2 of 3 copies",)),
        ("c", ("1 of 3 copies", "1 of 2 media")),
    ],
)
def test_what_is_lacking_is_said(chosen, lacking):
    home, copied, mirror = three()
    places = {"h": ("h", home, "disk", False), "c": ("c", copied, "cloud", True), "m": ("m", mirror, "disk", False)}
    report = audit(*(places[one] for one in chosen))
    assert not report.ok
    assert report.sources[0].lacking == lacking


def test_what_is_old_or_damaged_or_cannot_be_opened_is_no_copy():
    home, copied, mirror = three()
    home.backup(day(2), name="days", cache=False)
    places = [("h", home, "disk", False), ("c", copied, "cloud", True), ("m", mirror, "disk", False)]
    assert audit(*places).ok
    behind = [item.behind_seconds for item in audit(*places).sources[0].copies]
    assert behind[0] == 0 < behind[1] == behind[2]
    # An age between the two newest snapshots: those that are behind count for nothing.
    ages = [item.age_seconds for item in audit(*places).sources[0].copies]
    old = audit(*places, max_age_seconds=(ages[0] + ages[1]) / 2 if ages[1] - ages[0] > 1 else -1)
    assert not old.ok
    assert any("too old" in item.problem for item in old.sources[0].copies)
    name = archive_names(mirror.store)[0]
    kept = mirror.store.read(name)
    mirror.store.delete(name)
    report = audit(*places)
    assert report.sources[0].lacking == ("2 of 3 copies",)
    assert name.split("/")[1] in report.sources[0].copies[2].problem
    mirror.store.create(name, kept)
    damage(mirror.store, name, 5_000)
    assert not mirror.verify().ok
    assert "found it damaged" in audit(*places).sources[0].copies[2].problem
    report = audit(*places[:2], ("x", "no repository there", "tape", True))
    assert report.problems == (("x", "no repository there"),)
    assert not report.ok
    assert not audit(("e", new("plain"), "disk", False)).ok


def test_one_place_under_several_names_is_one_copy(tmp_path):
    with_days("plain", 1, tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    places = [str(tmp_path / "a"), f"{tmp_path}/./a", str(tmp_path / "link")]
    report = audit(*((place, Repository.open(place), "disk", False) for place in places), media=1, offsite=0)
    assert report.sources[0].copy_count == 1
    assert [(place, why) for place, why in report.problems] == [
        (place, f"is the same as {places[0]}") for place in sorted(places[1:])
    ]
    assert not report.ok


def test_names_alone_make_no_copies_and_copies_of_copies_do():
    first, other = with_days("plain", 1), with_days("plain", 1)
    report = audit(("a", first, "disk", False), ("b", other, "cloud", True), copies=1, media=1, offsite=0)
    assert [source.copy_count for source in report.sources] == [1, 1]
    second, third = new("sealed"), new("other")
    first.copy_to(second)
    second.copy_to(third)
    report = audit(("c", third, "x", True), ("a", first, "y", False), ("b", second, "z", False))
    assert report.ok
    assert [item.relation for item in report.sources[0].copies] == ["copy", "home", "copy"]


def test_what_a_place_is_follows_from_it(tmp_path, monkeypatch):
    here = facts_of(LocalStore(tmp_path / "not" / "yet"), PlaceFacts("p"))
    assert (here.medium, here.offsite) == (f"disk {tmp_path.stat().st_dev}", False)
    said = facts_of(LocalStore(tmp_path), PlaceFacts("p", "usb", True))
    assert (said.medium, said.offsite) == ("usb", True)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    keys = {"access_key_id": "x", "secret_access_key": "y", "region": "eu-west-1"}
    bucket = open_store("s3://bucket/prefix", keys)
    assert (facts_of(bucket, PlaceFacts("p")).medium, facts_of(bucket, PlaceFacts("p")).offsite) == ("s3", True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    local = facts_of(bucket, PlaceFacts("p"))
    assert (local.medium, local.offsite) == ("s3 127.0.0.1:9000", False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no \\[\\[repository"),
        ("[[repository]]\nmedium = 'x'", "has no place"),
        ("[[repository]]\nplace = 'x'\ncolour = 'red'", "colour"),
        ("[[repository]]\nplace = 3", "place: 3"),
        ("[rule]\ncopies = true\n[[repository]]\nplace = 'x'", "copies"),
        ("[rule]\nmax_age = 'soon'\n[[repository]]\nplace = 'x'", "max_age"),
        ("[other]\n", "other"),
        ("repository = 3\n", "repository"),
        ("place = ", "not TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, text, said):
    (tmp_path / "audit.toml").write_text(text)
    with pytest.raises(InvalidArgumentError, match=said):
        read_audit_config(tmp_path / "audit.toml")
    with pytest.raises(NotFoundError):
        read_audit_config(tmp_path / "none.toml")


def test_the_command_with_a_file(tmp_path):
    home = with_days("sealed", 1, tmp_path / "a")
    copied = new("other", tmp_path / "b")
    home.copy_to(copied)
    sync_repository(tmp_path / "a", tmp_path / "c")
    home.backup(day(1), name="days", cache=False)  # the mirror is behind, which is no reason to refuse it
    for name, secret in (("own", OWN), ("other", OTHER)):
        (tmp_path / name).write_text(secret)
    config = tmp_path / "audit.toml"
    entries = [("a", "own", "disk", "false"), ("b", "other", "cloud", "true"), ("c", "own", "usb", "false")]
    config.write_text(
        "[rule]\nmax_age = '1d'\n"
        + "".join(
            f"[[repository]]\nplace = {json.dumps(str(tmp_path / place))}\nidentity = {json.dumps(str(tmp_path / key))}\n"
            f"medium = '{medium}'\noffsite = {offsite}\n"
            for place, key, medium, offsite in entries
        )
    )
    done = run("audit", "--config", config, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    [item, summary] = [line for line in lines(done) if line["message_type"] in ("item", "summary")]
    assert summary["schema_version"] == 1
    assert (item["name"], item["copy_count"], summary["ok"]) == ("days", 3, True)
    assert np.isclose(item["copies"][2]["behind_seconds"], item["copies"][1]["behind_seconds"])
    short = run("audit", tmp_path / "a", tmp_path / "c", "--identity", tmp_path / "own", "--offsite", tmp_path / "c")
    assert short.returncode == 1
    assert b"2 copies on 1 media, 1 off site: 2 of 3 copies, 1 of 2 media" in short.stdout
    assert run("audit", tmp_path / "a", "--offsite", "elsewhere").returncode == 2


def test_limits_that_would_have_no_effect_are_refused(tmp_path):
    home = with_days("plain", 1, tmp_path / "a")
    new("plain", tmp_path / "b")
    sync_repository(home.store, tmp_path / "c")
    (tmp_path / "audit.toml").write_text(f"[[repository]]\nplace = {json.dumps(str(tmp_path / 'a'))}\n")
    a, b, c = (tmp_path / name for name in "abc")
    commands = [("audit", a, c), ("audit", "--config", tmp_path / "audit.toml"), ("copy", a, b), ("sync", a, c)]
    for command in [*commands, ("repair", a, "--from", c)]:
        done = run(*command, "--limit-download", "1M")
        assert done.returncode == 2, command
        assert b"--limit-download" in done.stderr, command
        assert b"nothing is limited" in done.stderr, command
        # That of the environment is for others.
        assert run(*command, env={**os.environ, "VARK_LIMIT_DOWNLOAD": "1M"}).returncode in (0, 1), command
