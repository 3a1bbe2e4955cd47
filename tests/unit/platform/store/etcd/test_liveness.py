"""When a stream of a watch is in doubt, with members that say what the test lets them say."""

import pytest
from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from overlord.platform.store.address import Endpoint
from overlord.platform.store.errors import StoreUnavailable
from overlord.platform.store.etcd.liveness import Liveness, LivenessBounds

OWN, OTHER = Endpoint("own", 1), Endpoint("other", 1)
BOUNDS = LivenessBounds(interval=0.5, silence=2.0, renewal=60.0)


@define
class Watch:
    prefix: bytes = b"/a/"
    received: int = 10
    is_paused: bool = False


class Members:
    """Two of them, and what they answer."""

    endpoints = (OWN, OTHER)

    def __init__(self) -> None:
        self.own: int | None = 10
        self.other: int | None = 10
        self.under_prefix = 10
        self.looked_through = 0

    async def call(self, path, body, *, through=(), seconds=None):
        assert seconds == BOUNDS.silence
        revision = self.own if through == (OWN,) else self.other
        if revision is None:
            raise StoreUnavailable("away")
        answer = {"header": {"revision": str(revision)}}
        if "sort_target" in body:
            self.looked_through += 1
            at = str(self.under_prefix)
            answer["kvs"] = [{"key": "YQ==", "create_revision": at, "mod_revision": at}]
        return answer


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def members():
    return Members()


@pytest.fixture
def doubt(clock, watch, members):
    probe = Liveness(watch, OWN, members, clock, BOUNDS, clock.seconds)
    found = []
    running = Deferred.fromCoroutine(probe.doubt())
    running.addCallbacks(found.append, lambda _: None)
    yield found
    running.cancel()


def test_a_quiet_store_is_no_reason(clock, doubt, members) -> None:
    clock.pump([0.5] * 1000)

    assert (doubt, members.looked_through) == ([], 0)


def test_an_endpoint_that_does_not_answer(clock, doubt, members) -> None:
    members.own = None

    clock.pump([0.5])

    assert doubt == ["etcd at own:1 did not answer within 2 s"]


def test_a_change_that_another_member_knows_and_the_stream_does_not_tell(
    clock, doubt, members
) -> None:
    members.own = members.other = members.under_prefix = 11
    clock.pump([0.5] * 4)
    assert doubt == []

    clock.pump([0.5])

    assert doubt == ["etcd at own:1 has not told revision 11"]


def test_a_change_that_is_told_in_time(clock, doubt, members, watch) -> None:
    members.own = members.other = members.under_prefix = 11
    clock.pump([0.5] * 4)
    watch.received = 11

    clock.pump([0.5] * 50)

    assert doubt == []


def test_an_endpoint_that_is_cut_off_from_the_others(clock, doubt, members) -> None:
    """It answers, and knows nothing new; what the others do may be deletions alone."""
    members.other = 11
    clock.pump([0.5] * 4)
    assert doubt == []

    clock.pump([0.5])

    assert doubt == ["etcd at own:1 is at revision 10, behind 11"]


def test_an_endpoint_that_catches_up(clock, doubt, members) -> None:
    members.other = 11
    clock.pump([0.5] * 4)
    members.own = 11

    clock.pump([0.5] * 50)

    assert doubt == []


def test_changes_elsewhere_are_no_reason_for_a_minute(clock, doubt, members) -> None:
    """Deletions cannot be asked for, so a silent stream is renewed while the store changes."""
    members.own = members.other = 50
    clock.pump([0.5] * 119)
    assert doubt == []

    clock.pump([0.5] * 2)

    assert doubt == ["etcd at own:1 told nothing for 60 s"]
    assert members.looked_through == 1


def test_a_stream_that_we_do_not_read_is_not_to_blame(clock, doubt, members, watch) -> None:
    members.own = members.other = members.under_prefix = 50
    watch.is_paused = True

    clock.pump([0.5] * 500)

    assert doubt == []


def test_a_store_that_is_away_is_not_to_blame_on_the_stream(clock, doubt, members) -> None:
    members.other = None

    clock.pump([0.5] * 500)

    assert doubt == []
