"""
Whether a plan exists at all, by trying everything: for pictures of a few hosts.

It knows the guarantees and the room of hosts, and nothing else of the code that it judges.
"""

from functools import cache
from itertools import combinations, product


def possible(room, before, needs, fresh, copies):
    """
    Whether new instances can be placed, and roles be given out, without breaking a guarantee.

    Args:
        room: how many new instances each host can take.
        before: the hosts of those instances of each shard that stay.
        needs: how many further instances each of these shards needs.
        fresh: how many shards are new.
        copies: how many instances a new shard has.
    """
    shards = len(before) + fresh
    total = sum(map(len, before)) + sum(needs) + fresh * copies
    most = (total - 1) // 2 if shards > 2 else max(1, total // 2)
    most_masters = max(1, (shards - 1) // 2)
    hosts = range(len(room))
    stay = [sum(host in row for row in before) for host in hosts]
    left = tuple(max(0, min(room[host], most - stay[host])) for host in hosts)
    rows = [(tuple(sorted(row)), need) for row, need in zip(before, needs, strict=True)]
    rows += [((), copies)] * fresh
    rows.sort()

    @cache
    def electable(sets):
        """A master for each shard: Hall's condition, by the search for one more each time."""
        led = {}

        def lead(shard, seen):
            for host in sets[shard]:
                if host in seen:
                    continue
                seen.add(host)
                mine = led.setdefault(host, [])
                if len(mine) < most_masters:
                    mine.append(shard)
                    return True
                for other in mine:
                    if lead(other, seen):
                        mine.remove(other)
                        mine.append(shard)
                        return True
            return False

        return all(lead(shard, set()) for shard in range(len(sets)))

    @cache
    def fill(at, left, done):
        if at == len(rows):
            return electable(tuple(sorted(done)))
        members, need = rows[at]
        for chosen in combinations([h for h in hosts if left[h] and h not in members], need):
            rest = tuple(left[h] - (h in chosen) for h in hosts)
            if fill(at + 1, rest, tuple(sorted((*done, tuple(sorted((*members, *chosen))))))):
                return True
        return False

    return fill(0, left, ())


def fewest_moves(room, rows, size):
    """With how few moves `size` of the rows can stay and be legal; None if with none."""
    counts = []
    for kept in {tuple(sorted(chosen)) for chosen in combinations(map(tuple, rows), size)}:
        places = [(row, at) for row, members in enumerate(kept) for at in range(len(members))]
        for stays in sorted(product((True, False), repeat=len(places)), key=lambda s: -sum(s)):
            moves = len(places) - sum(stays)
            if moves > sum(room) or (counts and moves >= min(counts)):
                break
            before = [[] for _ in kept]
            for (row, at), stay in zip(places, stays, strict=True):
                if stay:
                    before[row].append(kept[row][at])
            needs = [len(kept[row]) - len(before[row]) for row in range(size)]
            if possible(room, tuple(map(tuple, before)), tuple(needs), 0, len(kept[0])):
                counts.append(moves)
                break
    return min(counts, default=None)
