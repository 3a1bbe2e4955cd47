"""What clients are shown of a Redis Cluster."""

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.task import Clock

from overlord.config import ClusterConfig, ServerConfig
from overlord.proxy.pose import Posing
from overlord.topology import Address

THREE = ("10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000")


def config(**changes: Any) -> ClusterConfig:
    return ClusterConfig(
        name="users",
        cache_type="redis_cluster",
        listen_addr=changes.pop("listen_addr", "0.0.0.0:7000"),
        servers=(ServerConfig("127.0.0.1", 6379),),
        **changes,
    )


def posing(**changes: Any) -> Posing:
    return Posing(config(**changes), lambda host, port, timeout: pytest.fail("dials"), Clock())


def addresses(posing: Posing, local_address: str = "10.9.9.9:7000") -> list[Address]:
    return [node.address for node in posing.pose_of(local_address).slot_map.nodes]


def test_a_single_proxy_is_three_masters_where_the_client_connected() -> None:
    """Whatever of its addresses that was."""
    single = posing()

    assert addresses(single) == [Address("10.9.9.9", 7000)] * 3
    assert addresses(single, "[::1]:7000") == [Address("::1", 7000)] * 3
    ids = {node.id for node in single.pose_of("10.9.9.9:7000").slot_map.nodes}
    assert ids == {node.id for node in posing().pose_of("[::1]:7000").slot_map.nodes}


def test_another_address_may_be_announced() -> None:
    """For containers, where clients see another one than we do."""
    assert (
        addresses(posing(announce_addr="203.0.113.5:17000")) == [Address("203.0.113.5", 17000)] * 3
    )


@pytest.mark.parametrize("own", [0, 1, 2])
def test_all_proxies_of_a_list_tell_the_same(own: int) -> None:
    """But for which of them the client talks to."""
    pose = posing(announce=THREE, announce_addr=THREE[own]).pose_of("127.0.0.1:7000")

    assert [str(node.address) for node in pose.slot_map.nodes] == list(THREE)
    assert pose.myself == own


def test_who_we_are_in_the_list_says_the_address_that_we_listen_on() -> None:
    """If it is one of the list."""
    pose = posing(announce=THREE, listen_addr=THREE[1]).pose_of("127.0.0.1:7000")

    assert pose.myself == 1


def test_a_proxy_that_falls_silent_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time with a higher epoch, and at the end all is as it was."""
    monkeypatch.setattr("overlord.proxy.pose.time.time", lambda: 1000.0)
    ours = posing(announce=THREE, announce_addr=THREE[0])
    maps = [ours.pose_of("").slot_map]
    for is_alive in (False, True):
        monkeypatch.setattr(
            "overlord.proxy.peers.Peers.alive", (True, is_alive, True), raising=True
        )
        ours._changed(1, is_alive, "")
        maps.append(ours.pose_of("").slot_map)

    assert [each.nodes[0].config_epoch for each in maps] == [1000, 1001, 1002]
    assert 1 in maps[0].owners
    assert 1 not in maps[1].owners
    assert maps[2].owners == maps[0].owners


def test_another_configuration_is_shown_at_once() -> None:
    """After a reload; what has nothing to do with it changes nothing."""
    ours = posing(announce_addr="10.0.0.1:1")
    before = ours.pose_of("").slot_map

    ours.take(evolve(ours.config, read_timeout=5.0))
    assert ours.pose_of("").slot_map is before

    ours.take(evolve(ours.config, announce_addr="10.0.0.1:2"))
    assert addresses(ours) == [Address("10.0.0.1", 2)] * 3
    assert ours.pose_of("").slot_map.nodes[0].config_epoch > before.nodes[0].config_epoch
