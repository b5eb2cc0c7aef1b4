"""Power cuts, kills and other processes at every call of backup, forget, undelete, hold, compact and gc.

VARK_SEED replays a run. VARK_STATES: states tried at each point of a script; VARK_RUNS: random scripts; VARK_SHARE:
share of the calls at which something is done (1 for all, as `make crash` does). Proof that it finds planted bugs
is in test_repository_planted_bugs.py.
"""

import os
import random
import time

import pytest

from repository_campaign import SEED, Campaign

STATES = int(os.environ.get("VARK_STATES", "12"))
RUNS = int(os.environ.get("VARK_RUNS", "6"))
SHARE = float(os.environ.get("VARK_SHARE", "0.07"))
DISTINCT_MIN = 10_000
CHAIN = ["create", "backup 1", "backup 2", "backup 3"]
SCRIPT = [*CHAIN, "tag 1 a", "hold 1", "forget 2", "undelete 2", "forget 2", "gc", "compact 3", "gc", "release 1"]
SCRIPT += ["forget 1", "gc", "backup 4 full", "tag 4 b", "backup 5", "forget 3", "gc 0"]
# What is there, what is killed after each of its calls, and what others do then.
KILLS = [
    ([], "create", [["create", "backup 1", "gc"]]),
    (CHAIN, "backup 4", [["gc", "backup 4"], ["backup 4", "gc"], ["forget 3", "compact 4", "gc"]]),
    (CHAIN, "compact 3", [["gc"], ["compact 3", "gc"], ["forget 1", "forget 2", "gc"]]),
    (CHAIN, "forget 1", [["forget 1", "gc"], ["gc"], ["undelete 1", "gc"]]),
    ([*CHAIN, "forget 3"], "undelete 3", [["gc"], ["undelete 3", "gc"], ["forget 3"]]),
    ([*CHAIN, "compact 3", "forget 1", "forget 2"], "gc", [["gc"], ["backup 5", "gc"], ["undelete 2", "gc"]]),
    ([*CHAIN, "forget 3"], "gc", [["gc"], ["backup 5", "gc"], ["undelete 3", "gc"], ["hold 3"]]),
    ([*CHAIN, "forget 3"], "hold 3", [["gc"], ["gc", "hold 3"]]),
    ([*CHAIN, "hold 3", "forget 1"], "release 3", [["gc"], ["forget 3", "gc 0"]]),
]
# What is there, and what others do before a call of the command.
INTRUSIONS = [
    (CHAIN, "look", [["compact 3"], ["compact 3", "forget 1", "forget 2", "gc"], ["backup 4", "gc"]]),
    (CHAIN, "verify", [["compact 3", "gc"], ["compact 3", "forget 1", "forget 2", "gc"], ["backup 4", "gc"]]),
    (CHAIN, "backup 4", [["forget 3", "gc 0"], ["compact 3", "gc"], ["forget 1", "forget 2", "forget 3", "gc 0"]]),
    ([*CHAIN, "forget 3"], "gc 0", [["backup 4"], ["undelete 3"], ["hold 3"], ["gc 0"]]),
    (CHAIN, "gc 0", [["compact 3"], ["forget 3", "backup 5"]]),
    (CHAIN, "compact 3", [["gc 0"], ["forget 3", "gc 0"], ["backup 4"], ["compact 3", "gc 0"]]),
    ([*CHAIN, "forget 3"], "undelete 3", [["gc 0"]]),
    (CHAIN, "forget 3", [["gc 0"], ["backup 4", "gc"], ["compact 3", "gc"]]),
    (CHAIN, "hold 3", [["forget 3", "gc 0"], ["compact 3", "gc"]]),
]
SMALL_VOLUMES = 8192


@pytest.fixture(scope="module")
def campaign():
    return Campaign(states=STATES, go_on_share=0.02)


def random_script(seed):
    """Return commands in any order; those that make no sense are refused, which is fine."""
    rng, script, number = random.Random(seed), ["create", "backup 1"], 1
    while len(script) < 16:
        command = rng.choice(["backup", "backup", "forget", "forget", "gc", "undelete", "compact", "hold", "release"])
        if command == "backup":
            number += 1
            script.append(f"backup {number}" + rng.choice(["", "", " full"]))
        elif command == "gc":
            script.append(rng.choice(["gc", "gc 0"]))
        else:
            script.append(f"{command} {rng.randint(max(number - 3, 1), number)}")
    return script


@pytest.mark.parametrize("settings", [{}, {"lasting": True}, {"volume_bytes": SMALL_VOLUMES}], ids=str)
def test_power_cuts_after_every_call(campaign, settings):
    campaign.power_cuts(SCRIPT, **settings)


@pytest.mark.parametrize("run", range(RUNS))
def test_power_cuts_in_random_scripts(campaign, run):
    campaign.power_cuts(random_script(f"{SEED}.{run}"))


@pytest.mark.parametrize("scene", KILLS, ids=lambda scene: f"{scene[1]}-{len(scene[0])}")
def test_kills_after_every_call_and_what_others_do_then(campaign, scene):
    campaign.kills(*scene, share=min(SHARE * 6, 1))


def test_kills_between_volumes(campaign):
    scripts = [["backup 4", "gc"], ["gc", "backup 4"]]
    campaign.kills(
        CHAIN, "backup 4 full", [["backup 4 full", "gc"]], volume_bytes=SMALL_VOLUMES, share=min(SHARE * 10, 1)
    )
    campaign.kills(CHAIN, "backup 4", scripts, volume_bytes=SMALL_VOLUMES, share=SHARE)


@pytest.mark.parametrize("scene", INTRUSIONS, ids=lambda scene: scene[1])
def test_others_at_every_call(campaign, scene):
    campaign.intrusions(*scene, share=SHARE)


def test_enough_states_were_checked(campaign, capsys, request):
    """The last of this file: says what the others did."""
    with capsys.disabled():
        print(f"\nseed {SEED}: {campaign}, {time.perf_counter() - campaign.begin_seconds:.0f} s")
    if len(request.session.items) > len(KILLS) + len(INTRUSIONS) + RUNS:  # not a part of the suite only
        assert len(campaign.distinct) >= DISTINCT_MIN
        assert campaign.went_on > 50
