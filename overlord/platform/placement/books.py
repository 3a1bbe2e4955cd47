"""What is free on each host while a plan grows: resources by role, ports, and who may have them."""

from collections import defaultdict
from collections.abc import Iterable

from attrs import define, field

from overlord.platform.placement.demand import ANY_ROLE, Demand
from overlord.platform.placement.picture import Host, Picture, Share
from overlord.platform.placement.ports import PortPair, PortSet, bus_pairs, data_ports


@define(eq=False)
class _Account:
    """A host's resources of one role."""

    cpus: int
    memory: int
    ports: PortSet


@define(eq=False)
class Books:
    """
    The accounts of all hosts. Plans take from them and give nothing back: what leaves is freed only
    when its successor runs.
    """

    hosts: dict[str, Host]
    _accounts: dict[str, dict[str, _Account]]
    _busy: dict[str, set[int]] = field(factory=lambda: defaultdict(set))
    """Ports of our instances, by host."""

    @classmethod
    def of(cls, picture: Picture) -> "Books":
        books = cls(
            {host.name: host for host in picture.hosts},
            {
                host.name: {
                    share.role: _Account(share.cpus, share.memory, share.ports)
                    for share in host.free
                }
                for host in picture.hosts
            },
        )
        for one in picture.running:
            books._busy[one.host].update(one.ports)
        return books

    def free(self, host: str, role: str) -> tuple[int, int]:
        """Thousandths of a cpu and bytes that a role may still have on a host."""
        accounts = self._usable(host, role)
        return sum(one.cpus for one in accounts), sum(one.memory for one in accounts)

    def fitting(self, host: str, demand: Demand) -> int:
        """How many instances fit by cpu and memory; ports aside."""
        cpus, memory = self.free(host, demand.role)
        by_memory = memory // demand.reserved
        return min(by_memory, cpus // demand.cpus) if demand.cpus else by_memory

    def ports(self, host: str, demand: Demand, most: int) -> list[PortPair]:
        """The ports that the next instances would get on a host: at most `most`, and all there are."""
        if most < 1 or host not in self._accounts:
            return []
        usable = self._usable(host, demand.role)
        offered = usable[0].ports if len(usable) == 1 else _union(one.ports for one in usable)
        busy = self._busy[host]
        foreign = [
            account.ports
            for role, account in self._accounts[host].items()
            if role not in {demand.role, ANY_ROLE} and account.ports.ranges
        ]

        def is_busy(port: int) -> bool:
            return port in busy or any(port in ports for ports in foreign)

        if not demand.needs_bus:
            return data_ports(offered, is_busy, most)
        return bus_pairs(offered, is_busy, may_choose_bus=demand.may_choose_bus, most=most)

    def take(self, host: str, demand: Demand, ports: PortPair) -> tuple[Share, ...]:
        """Book an instance on a host, reserved resources first; say what it took of which role's."""
        needed = {"cpus": demand.cpus, "memory": demand.reserved}
        wanted = [port for port in ports if port is not None]
        self._busy[host].update(wanted)
        taken: list[Share] = []
        for role in dict.fromkeys((demand.role, ANY_ROLE)):
            account = self._accounts[host].get(role)
            if account is None:
                continue
            cpus = min(account.cpus, needed["cpus"])
            memory = min(account.memory, needed["memory"])
            own = [(port, port) for port in wanted if port in account.ports]
            account.cpus -= cpus
            account.memory -= memory
            needed["cpus"] -= cpus
            needed["memory"] -= memory
            if cpus or memory or own:
                taken.append(Share(role, cpus, memory, PortSet(tuple(own))))
        return tuple(taken)

    def _usable(self, host: str, role: str) -> list[_Account]:
        accounts = self._accounts.get(host, {})
        return [accounts[one] for one in dict.fromkeys((role, ANY_ROLE)) if one in accounts]


def _union(sets: Iterable[PortSet]) -> PortSet:
    return PortSet(tuple(ports for one in sets for ports in one.ranges))
