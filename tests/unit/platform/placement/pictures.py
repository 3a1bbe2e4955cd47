"""Pictures and demands that the tests of placement share, and a judge that knows nothing of its code."""

from collections import Counter, defaultdict

from hypothesis import strategies as st

from overlord.platform.placement import (
    ANY_ROLE,
    Demand,
    Host,
    Kind,
    PlacementError,
    PortSet,
    Risk,
    Role,
    Share,
    apply,
)

MIB, GIB = 1 << 20, 1 << 30
PORTS = PortSet(((31000, 32000),))
ALL_RISKS = tuple(Risk)


def a_host(name, memory=100 * GIB, cpus=32_000, ports=PORTS, zone="", rack="", role=ANY_ROLE):
    return Host(name, (Share(role, cpus, memory, ports),), zone, rack)


def hosts(count, **kwargs):
    """Equal hosts 10.0.0.1, 10.0.0.2, ..."""
    return tuple(a_host(f"10.0.0.{number}", **kwargs) for number in range(1, count + 1))


def redis(name="users", replicas=1, cpus=1000, memory=GIB, overhead=1, **kwargs):
    return Demand(
        name,
        Kind.REDIS_CLUSTER,
        cpus,
        memory,
        replicas=replicas,
        memory_overhead=overhead,
        **kwargs,
    )


def singles(name="pages", cpus=1000, memory=GIB, overhead=1, **kwargs):
    return Demand(
        name, Kind.SINGLETONS, cpus, memory, replicas=0, memory_overhead=overhead, **kwargs
    )


def per_host(instances, role=None):
    """How many of the instances each host has, by the last part of its name."""
    return dict(
        sorted(
            Counter(
                int(one.host.rpartition(".")[2]) for one in instances if role in {None, one.role}
            ).items()
        )
    )


def shards_of(instances):
    shards = defaultdict(list)
    for one in instances:
        shards[one.shard].append(one)
    return dict(shards)


def shared_by_pairs(instances):
    """How many shards each pair of hosts shares."""
    pairs = Counter()
    for members in shards_of(instances).values():
        names = sorted(one.host for one in members)
        pairs.update((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    return pairs


def broken_rules(picture, cluster):
    """Each guarantee that a cluster breaks, in words; written down anew, from the guarantees."""
    mine = [one for one in picture.running if one.cluster == cluster]
    demand = next(demand for demand in picture.demands if demand.cluster == cluster)
    shards, total = shards_of(mine), len(mine)
    masters = [one for one in mine if one.role is Role.MASTER]
    found = []
    for shard, members in shards.items():
        if len({one.host for one in members}) < len(members):
            found.append(f"shard {shard} is twice on a host")
        if sum(one.role is Role.MASTER for one in members) != 1:
            found.append(f"shard {shard} has not one master")
        if len(members) != 1 + demand.replicas:
            found.append(f"shard {shard} has {len(members)} instances")
    for host, count in Counter(one.host for one in mine).items():
        if len(shards) > 2 and 2 * count >= total:
            found.append(f"{host} has {count} of {total} instances")
    for host, count in Counter(one.host for one in masters).items():
        if count > (max(1, (len(shards) - 1) // 2)):
            found.append(f"{host} has {count} of {len(shards)} masters")
    return found


def overcommitted(before, plan):
    """What the plan takes of a host that is not there, or twice; from the demands, not from `holds`."""
    found = []
    demands = {demand.cluster: demand for demand in before.demands}
    if plan.demand:
        demands[plan.demand.cluster] = plan.demand
    used = Counter((one.host, port) for one in before.running for port in one.ports)
    used.update((one.host, port) for one in plan.arriving for port in one.ports)
    found += [f"port {port} on {host} is used twice" for (host, port), n in used.items() if n > 1]
    known = {host.name: host for host in before.hosts}
    taken = defaultdict(lambda: [0, 0])
    for one in plan.arriving:
        demand = demands[one.cluster]
        usable = {demand.role, ANY_ROLE}
        taken[one.host, demand.role][0] += demand.cpus
        taken[one.host, demand.role][1] += demand.reserved
        shares = [share for share in known[one.host].free if share.role in usable]
        if not any(one.port in share.ports for share in shares):
            found.append(f"{one.address} is not offered")
        if demand.needs_bus != (one.bus_port is not None):
            found.append(f"{one.address} has the bus port {one.bus_port}")
        if one.bus_port is not None and one.bus_port != one.port + 10_000:
            if not demand.may_choose_bus:
                found.append(f"{one.address} cannot have the bus port {one.bus_port}")
            if not any(one.bus_port in share.ports for share in shares):
                found.append(f"bus port {one.bus_port} is not offered")
        if max(one.ports) > 65_535:
            found.append(f"{one.address} has a port that there is not")
    for (name, role), (cpus, memory) in taken.items():
        shares = [share for share in known[name].free if share.role in {role, ANY_ROLE}]
        if sum(share.cpus for share in shares) < cpus:
            found.append(f"{name} has not so many cpus")
        if sum(share.memory for share in shares) < memory:
            found.append(f"{name} has not so much memory")
    for name in {one.host for one in plan.arriving}:
        everything = known[name].free
        all_taken = [taken[name, role] for n, role in list(taken) if n == name]
        if sum(share.cpus for share in everything) < sum(cpus for cpus, _ in all_taken):
            found.append(f"{name} has not so many cpus for all roles")
        if sum(share.memory for share in everything) < sum(memory for _, memory in all_taken):
            found.append(f"{name} has not so much memory for all roles")
    return found


def carried_out(plan, picture):
    """The picture afterwards, judged: the plan takes what is there, and breaks no rule."""
    assert overcommitted(picture, plan) == []
    after = apply(plan, picture, ALL_RISKS)
    for cluster in {one.cluster for one in plan.arriving} | {one.cluster for one in plan.removed}:
        assert broken_rules(after, cluster) == []
    return after


def fails(function, *args):
    """The refusal of a call that must be refused."""
    try:
        function(*args)
    except PlacementError as error:
        return error
    raise AssertionError("was not refused")


def room_for(host, demand):
    """What a host has free for a demand, best compared first: instances by cpu and memory, memory, cpus."""
    shares = [share for share in host.free if share.role in {demand.role, ANY_ROLE}]
    cpus = sum(share.cpus for share in shares)
    memory = sum(share.memory for share in shares)
    return min(memory // demand.reserved, cpus // demand.cpus), memory, cpus


@st.composite
def some_hosts(draw, least=1, most=7, zones=0):
    """Hosts with room for few instances of 1 cpu and 1 GiB, of which some lack cpus, memory or ports."""
    found = []
    for number in range(1, draw(st.integers(least, most)) + 1):
        cpus, memory = draw(st.integers(0, 8)), draw(st.integers(0, 8))
        ports = PortSet(((31000, 31000 + draw(st.sampled_from([0, 1, 2, 5, 100]))),))
        zone = f"z{draw(st.integers(1, zones))}" if zones else ""
        found.append(a_host(f"10.0.0.{number}", memory * GIB, cpus * 1000, ports, zone))
    return tuple(found)
