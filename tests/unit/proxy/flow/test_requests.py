"""From a client's bytes to writes for nodes, rule by rule."""

import os
import subprocess
import sys

import pytest
from unit.memory import held_for_good
from unit.proxy.flow.world import BOUNDLESS, READY, TAGS, Limits, World, bulk

from overlord.wire.buffer import held_bytes
from overlord.wire.resp import command


@pytest.fixture
def world():
    world = World()
    world.connect_all()
    return world


def tags_of_two_nodes(world):
    """Two tags whose keys are on different nodes."""
    first = world.flow.ring.node_of_key(b"{a}")
    other = next(tag for tag in TAGS if world.flow.ring.node_of_key(b"{%b}" % tag) != first)
    return b"a", other


def test_a_full_line_to_a_node_makes_clients_wait_and_go_on():
    """One client's requests fill a node's line; another one waits, and is served when there is room."""
    world = World(Limits(node_queue=2))
    world.connect_all()
    first, second = world.customer(), world.customer()
    first.get(b"a")
    first.get(b"a")
    first.send()

    second.ping()
    second.get(b"a")
    second.send()
    world.round()

    assert len(second.got) == 1
    assert second.stream.blocked
    assert world.flow.bound_hits == {"node_pipe_count": 1}
    world.settle()
    assert len(second.got) == 2


def test_a_split_command_waits_for_a_place_as_well():
    """What is split does not pass the bound on requests in flight on a connection to a node."""
    world = World(Limits(node_queue=1))
    world.connect_all()
    first, second = world.customer(), world.customer()
    first.get(b"a")
    first.send()

    second.mget(tags_of_two_nodes(world))
    second.send()
    world.round()

    assert [link.in_flight for link in world.all_links()].count(1) == 1
    assert second.stream.blocked
    world.settle()
    assert len(second.got) == 1


def test_a_request_that_waited_is_counted_once():
    """The number of commands is that of the clients, however often one is tried."""
    world = World(Limits(node_queue=1))
    world.connect_all()
    customers = [world.customer() for _ in range(3)]
    for customer in customers:
        customer.get(b"a")
        customer.mget(tags_of_two_nodes(world))
        customer.send()

    world.settle()

    assert world.flow.requests == 6
    assert world.flow.splits == 3


@pytest.mark.parametrize("last", ["quit", "violate"])
def test_nothing_is_served_behind_the_last_request(world, last):
    """What a pipeline holds behind QUIT, or behind what is no request, does not reach a node."""
    customer = world.customer()
    customer.get(b"a")
    getattr(customer, last)()
    customer.set(b"a", 1)

    customer.send()
    world.settle()

    assert len(customer.got) == 2
    assert len(world.servers[world.flow.ring.node_of_key(b"{a}")].executed) == 1
    assert customer.gone


def test_nothing_is_served_behind_an_inline_request_with_open_quotes(world):
    """The commands before it are answered, then comes Redis's error, then the end."""
    customer = world.customer()
    customer.get(b"a")
    text = b"-ERR Protocol error: unbalanced quotes in request\r\n"
    customer.ask_raw(b"set 'x y\r\n", lambda _: text, last=True)
    customer.set(b"a", 1)

    customer.send()
    world.settle()

    assert customer.got[1:] == [text]
    assert customer.gone


def test_d17_http_on_a_redis_port_is_closed_and_counted(world):
    """A browser that was tricked into talking to us gets nothing through."""
    customer = world.customer()
    customer.get(b"a")
    text = b"-ERR this is not an HTTP server\r\n"
    customer.ask_raw(b"POST / HTTP/1.1\r\n", lambda _: text, last=True)
    customer.ask_raw(b"Host: x\r\n\r\n", lambda _: text)
    customer.set(b"a", 1)

    customer.send()
    world.settle()

    assert customer.got[1:] == [text]
    assert customer.gone
    assert world.flow.refusals == {"http": 1}


def test_reset_waits_for_what_came_before_it(world):
    """RESET ends RESP3, and with it the lane: a later request must not overtake an earlier one."""
    customer = world.customer()
    customer.hello(3)
    customer.send()
    world.round()
    world.connect_all()
    world.round()
    world.answer()
    node = world.flow.nodes[world.flow.ring.node_of_key(b"{a}")]

    customer.get(b"a")
    customer.reset()
    customer.get(b"a")
    customer.send()
    world.round()

    assert [link.in_flight for link in (*node.links, *node.links3)] == [0, 1]
    world.settle()
    assert len(customer.got) == 4


def test_hello_3_takes_other_connections(world):
    """Before HELLO 3 a client's requests travel on RESP2 links, afterwards on RESP3 ones."""
    customer = world.customer()
    customer.get(b"a")
    customer.hello(3)
    customer.get(b"a")
    customer.hello(2)
    customer.get(b"a")

    customer.send()
    world.settle()

    assert [
        reply.strip()[-1:] for reply in (customer.got[0], customer.got[2], customer.got[4])
    ] == [
        b"2",
        b"3",
        b"2",
    ]


def test_hello_3_is_refused_where_a_node_does_not_know_it(world):
    """One old node is enough; the client goes on in RESP2."""
    world.servers[1].speaks3 = False
    customer = world.customer()
    customer.hello(3)
    customer.get(b"a")

    customer.send()
    for _ in range(4):
        world.connect_all()
        world.answer()

    assert customer.got[0] == b"-NOPROTO unsupported protocol version\r\n"
    assert customer.protocol == 2
    assert len(customer.got) == 2


def test_hello_3_does_not_wait_for_a_node_that_hangs_up_on_it(world):
    """A node that ends each connection that greets it does not keep the client waiting for ever."""
    customer = world.customer()
    customer.hello(3)
    customer.send()
    world.round()

    for link in [link for link in world.all_links() if link.protocol == 3]:
        world.connect(link)
        world.round()
        world.kill(link)
        world.round()

    assert len(customer.got) == 1


def test_bug_13_only_what_was_not_answered_is_lost_with_a_connection(world):
    """Answered requests of a pipeline keep their answers; the others get an error; neighbours go on."""
    customer, neighbour = world.customer(), world.customer()
    here, elsewhere = tags_of_two_nodes(world)
    for _ in range(3):
        customer.get(here)
    neighbour.get(elsewhere)
    customer.send()
    neighbour.send()
    world.round()
    link = world.flow.nodes[world.flow.ring.node_of_key(b"{%b}" % here)].links[0]
    link.carrier.serve(1)
    link.carrier.deliver()

    world.kill(link, "connection refused")
    world.settle()

    lost = b"-ERR node unavailable: connection refused; the command may have been executed\r\n"
    assert customer.got[1:] == [lost, lost]
    assert customer.got[0].startswith(b"$")
    assert neighbour.got[0].startswith(b"$")


def test_a_node_without_connections_is_refused_at_once():
    """Nobody waits for a node that is down."""
    world = World()
    for link in world.all_links():
        world.kill(link, "connection refused")
    customer = world.customer()
    customer.get(b"a")
    customer.mget(TAGS)
    customer.mset(TAGS)

    customer.send()
    world.round()

    assert customer.got == [b"-ERR node unavailable: connection refused\r\n"] * 3
    assert customer.stream.retained == 0


def test_bug_27_keys_on_several_nodes_are_refused_by_name(world):
    """A command that is not split is never carried out on a part of its keys."""
    here, elsewhere = tags_of_two_nodes(world)
    customer = world.customer()
    customer.unite([here, elsewhere])
    customer.unite([here, here])

    customer.send()
    world.settle()

    assert customer.got[0].startswith(b"-CROSSSLOT Keys of 'sunion' are not all on one node")
    assert customer.got[1].startswith(b"$")


def test_mset_of_a_key_without_a_value_is_told_so_on_several_nodes(world):
    """And not that the keys are on several nodes, which would be no mistake."""
    customer = world.customer()
    text = b"-ERR wrong number of arguments for 'mset' command\r\n"
    here, elsewhere = tags_of_two_nodes(world)
    customer.ask_raw(command([b"MSET", b"{%b}" % here, b"v", b"{%b}" % elsewhere]), lambda _: text)

    customer.send()
    world.settle()

    assert customer.got == [text]
    assert world.flow.errors == 1


def test_a_node_that_takes_nothing_gives_errors_at_once():
    """Above node_max_unsent a request is refused, and the client does not wait for it."""
    world = World(Limits(node_max_unsent=4096))
    world.connect_all()
    world.may_be_full = True
    for conn in world.conns():
        conn.takes = 0
    customer = world.customer()
    for _ in range(4):
        customer.set(b"a", 3000)

    customer.send()
    world.round()
    assert customer.stream.in_flight == 4
    world.settle()

    refused = b"-ERR node unavailable: it takes up what it is sent too slowly\r\n"
    assert [reply == refused for reply in customer.got] == [False, False, True, True]
    assert world.flow.bound_hits == {"node_max_unsent": 2}


def test_max_memory_refuses_what_would_break_it():
    """When the budget of the process is used up, requests get an error until there is room again."""
    world = World(max_memory=held_for_good() + 40_000)
    world.connect_all()
    for conn in world.conns():
        conn.takes = 0
    customer = world.customer()
    text = b"-ERR the proxy's memory budget (max_memory) is used up\r\n"
    customer.set(b"a", 60_000)
    customer.send()
    customer.ask([b"GET", b"{a}x"], lambda _: text)

    customer.send()
    world.settle()

    assert customer.got[1] == text
    assert world.flow.bound_hits["max_memory"] == 1


def test_d02_an_announced_argument_above_the_budget_is_refused():
    """A client that announces what the budget cannot hold gets the reason, before the bytes come."""
    world = World(max_memory=held_for_good() + (1 << 20))
    customer = world.customer()
    text = b"-ERR the proxy's memory budget (max_memory) is used up\r\n"

    customer.ask_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4000000\r\n", lambda _: text, last=True)
    customer.send()
    world.round()

    assert customer.got == [text]
    assert customer.gone


def test_d02_nothing_is_bought_for_an_announcement(world):
    """Whatever a client announces, it costs us what it has sent."""
    before = held_for_good()
    customer = world.customer()

    customer.stream.receive(b"*1000000\r\n$3\r\nSET\r\n$500000000\r\nabc")

    assert held_bytes() - before <= 1024
    assert customer.stream.wanted > 500_000_000


@pytest.mark.parametrize("empty", [b"*0\r\n", b"*-1\r\n", b"*-7\r\n", b"\r\n", b"\n", b"  \r\n"])
def test_d08_empty_requests_are_skipped(world, empty):
    """Empty requests in all mixtures leave no trace."""
    customer = world.customer()
    customer.stream.receive(empty * 2)
    customer.get(b"a")
    customer.send()
    customer.stream.receive(empty)
    customer.get(b"a", inline=True)
    customer.send()

    world.settle()

    assert len(customer.got) == 2


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n$-1\r\n", b"invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n*0\r\n", b"expected '$', got '*'"),
        (b"*2\r\n$3\r\nGET\r\n\r\n\r\n", b"expected '$', got '\\x0d'"),
        (b"*2\r\n$3\r\nGET\r\n$2x\r\n", b"invalid bulk length"),
        (b"*1048577\r\n", b"invalid multibulk length"),
        (b"*99999999999999999999\r\n", b"invalid multibulk length"),
        (b"*+1\r\n", b"invalid multibulk length"),
        (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
    ],
)
def test_bug_01_what_is_no_request_ends_one_client(world, sent, reason):
    """The answer is Redis's own, then the close, and nobody else notices."""
    customer, neighbour = world.customer(), world.customer()
    customer.get(b"a")
    customer.ask_raw(sent, lambda _: b"-ERR Protocol error: %b\r\n" % reason, last=True)
    neighbour.get(b"a")

    customer.send()
    neighbour.send()
    world.settle()

    assert len(customer.got) == 2
    assert customer.gone
    assert len(neighbour.got) == 1


def test_a_large_request_changes_hands_in_pieces_or_whole(world):
    """However a value of 200 kB is cut into reads, the node gets it as it was sent."""
    for cut in (BOUNDLESS, 65_536, 99_991, 199_999):
        customer = world.customer()
        customer.set(b"a", 200_000)
        customer.get(b"a")
        while customer.unsent:
            customer.send(cut)
            world.round()
    before = world.customers[0].stream

    world.settle()

    assert [len(customer.got) for customer in world.customers] == [2] * 4
    assert len(before.incoming) == 0


def test_the_window_opens_as_replies_are_read():
    """It begins with window_start, doubles with each portion that was answered, and ends at window_max."""
    world = World(Limits(window_start=2, window_max=8))
    world.connect_all()
    customer = world.customer()
    for _ in range(40):
        customer.get(b"a")
    seen = []

    customer.send()
    world.round()
    while customer.stream.in_flight:
        seen.append(customer.stream.in_flight)
        world.answer()

    assert seen == [2, 4, 8, 8, 8, 8, 2]


def test_large_replies_narrow_the_window():
    """Requests in flight times the largest recent reply stay below window_bytes."""
    world = World(Limits(window_start=16, window_max=16, window_bytes=100_000))
    world.connect_all()
    customer = world.customer()
    for _ in range(64):
        customer.get(b"a", 20_000)
    seen = []

    customer.send()
    world.round()
    while customer.stream.in_flight:
        seen.append(customer.stream.in_flight)
        world.answer()

    assert seen[0] == 16
    assert max(seen[1:]) <= 100_000 // 20_000
    assert len(customer.got) == 64


def test_the_room_for_a_command_of_many_keys_is_given_back(world):
    """With the next one that is split; until then it is counted as held."""
    many = [b"DEL", *(b"%d" % number for number in range(50_000))]
    few = command([b"DEL", *TAGS])
    world.flow.new_client(1).receive(few)
    before = held_for_good()
    world.flow.new_client(2).receive(command(many))
    for link in world.all_links():
        link.outgoing.take()
    assert held_bytes() - before > 8 * 90_000

    world.flow.new_client(3).receive(few)

    assert held_bytes() - before < 8192


@pytest.mark.parametrize(
    "argv",
    [
        [b"RENAME", b"a", b"b"],
        [b"MGET", b"a", b"b", b"c"],
        [b"MSET", b"a", b"1", b"b", b"2"],
        [b"DEL", b"a", b"b"],
        [b"EVAL", b"return 1", b"2", b"a", b"b"],
    ],
)
def test_where_any_node_will_do_a_command_stays_whole(argv):
    """With the distribution `random` all nodes hold the same: no key is on another node than its neighbour."""
    world = World(distribution="random")
    world.connect_all()
    frame = command(argv)

    sent = []
    for number in range(60):
        client = world.flow.new_client(number)
        client.receive(frame)
        sent += [(link.node.index, link.outgoing.take()) for link in world.all_links()]
        assert client.outgoing.take() == b""

    assert [data for _, data in sent if data] == [frame] * 60
    assert {index for index, data in sent if data} == {0, 1, 2}


def test_what_any_node_can_answer_goes_to_one_that_is_up(world):
    """A script without keys: always to the same node for one client, to another while that is down."""
    frame = command([b"EVAL", b"return 1", b"0"])
    clients = [world.flow.new_client(number) for number in range(3)]

    def asked(client):
        client.receive(frame)
        return [link.node.index for link in world.all_links() if link.outgoing.take()]

    assert [asked(client) for client in clients] == [[0], [1], [2]]

    world.kill(world.flow.nodes[1].links[0])
    assert [asked(client) for client in clients] == [[0], [2], [2]]


def test_a_client_at_the_widest_window_is_counted():
    """Each time that its requests have to wait for it."""
    world = World(Limits(window_start=4, window_max=4))
    world.connect_all()
    customer = world.customer()
    for _ in range(5):
        customer.get(b"a")

    customer.send()
    world.round()

    assert world.flow.bound_hits == {"window_max": 1}


def test_an_error_of_ours_is_counted_once_for_each_request():
    """However many nodes were asked; an error of a node is not ours."""
    world = World(nodes=2)
    world.connect_all()
    customer = world.customer()
    customer.mget(TAGS)
    customer.get(b"a")
    customer.mset(TAGS, bad=0)
    customer.unknown()
    customer.send()
    world.round()
    assert world.flow.errors == 1

    for link in world.all_links():
        world.kill(link)
    world.round()
    assert world.flow.errors == 4

    customer.mget(TAGS)
    customer.send()
    world.round()
    assert world.flow.errors == 5


OUT_OF_MEMORY = """
import resource
from unit.proxy.flow.world import World

def used():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

world = World(nodes=2)
world.connect_all()
customer = world.customer()
keys = [next(b"{%d}" % n for n in range(99) if world.flow.ring.node_of_key(b"{%d}" % n) == node) for node in (0, 1)]
value = bytes(8 << 20)
frame = b"*5\\r\\n$4\\r\\nMSET\\r\\n"
frame += b"".join(b"$3\\r\\n%b\\r\\n$%d\\r\\n%b\\r\\n" % (key, len(value), value) for key in keys)
resource.setrlimit(resource.RLIMIT_AS, (used() + (12 << 20), resource.RLIM_INFINITY))
try:
    customer.stream.receive(frame)
except MemoryError:
    print("out of memory")
print([(link.in_flight, len(link.outgoing)) for link in world.all_links()], customer.stream.in_flight)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel to refuse memory")
def test_no_part_of_a_frame_is_on_a_link_when_memory_runs_out():
    """The node would take what comes next for the rest of it."""
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}

    run = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], check=True, capture_output=True, text=True, env=env
    )

    assert run.stdout == "out of memory\n[(0, 0), (0, 0)] 0\n"


def test_a_client_that_lets_too_much_wait_is_closed():
    """Above max_unsent a client is closed with a reason, and its late replies are thrown away."""
    world = World(Limits(max_unsent=50_000))
    world.connect_all()
    customer, neighbour = world.customer(), world.customer()
    customer.reads = 0
    for _ in range(16):
        customer.get(b"a", 20_000)
    neighbour.get(b"a")

    customer.send()
    neighbour.send()
    world.round()
    world.answer()

    assert customer.gone
    assert customer.stream.reason == "replies unread above max_unsent"
    assert world.flow.bound_hits == {"max_unsent": 1}
    assert len(neighbour.got) == 1


@pytest.mark.parametrize("size", [60_000, 70_000, 200_000, 1_000_000])
@pytest.mark.parametrize("cut", [BOUNDLESS, 30_000])
def test_one_reply_of_any_size_fits(size, cut):
    """max_unsent does not count the reply that passes it, so that every single value can be had."""
    world = World(Limits(max_unsent=4096))
    world.connect_all()
    customer = world.customer()
    customer.get(b"a", size)
    customer.send()
    world.round()
    (conn,) = [conn for conn in world.conns() if conn.inbox]
    conn.serve()

    while conn.replies:
        conn.deliver(cut)
    world.round()

    assert len(customer.got) == 1


def test_parts_of_many_split_commands_count_against_max_unsent():
    """Parts that wait for a slow node are unread replies too: they do not grow without bound."""
    world = World(Limits(max_unsent=100_000, window_start=64))
    world.connect_all()
    here, elsewhere = tags_of_two_nodes(world)
    slow = world.flow.ring.node_of_key(b"{%b}" % elsewhere)
    customer = world.customer()
    before = held_for_good()
    for _ in range(40):
        customer.mget([here, elsewhere], 10_000)

    customer.send()
    world.round()
    for conn in world.conns():
        if conn.server.index != slow:
            conn.serve()
            conn.deliver()
    world.round()

    assert customer.gone
    assert customer.stream.reason == "replies unread above max_unsent"
    assert held_bytes() - before < 200_000


def test_one_split_reply_of_any_size_fits():
    """The parts of one MGET are one reply, which may be larger than max_unsent."""
    world = World(Limits(max_unsent=4096))
    world.connect_all()
    customer = world.customer()
    customer.mget(TAGS, 50_000)

    customer.send()
    world.settle()

    assert len(customer.got) == 1


def test_our_own_large_replies_count_against_max_unsent():
    """A client cannot have us keep COMMAND's reply a thousand times while a node is slow."""
    world = World(Limits(max_unsent=200_000, window_start=1024))
    world.connect_all()
    customer = world.customer()
    customer.get(b"a")
    customer.send()

    customer.stream.receive(command([b"COMMAND"]) * 1000)
    world.round()

    assert customer.gone
    assert customer.stream.reason == "replies unread above max_unsent"


def test_our_own_large_replies_narrow_the_window():
    """Local replies are as large for the client's memory as others are."""
    world = World(Limits(window_start=1024, window_bytes=1 << 20))
    world.connect_all()
    customer = world.customer()
    customer.get(b"a")
    customer.send()

    customer.stream.receive(command([b"COMMAND"]) * 1000)
    world.round()

    assert customer.stream.blocked
    assert customer.stream.retained < 2 << 20


def test_a_client_that_does_not_read_is_not_read_from(world):
    """Its requests wait, and then its bytes do."""
    customer, neighbour = world.customer(), world.customer()
    customer.reads = 0
    for _ in range(3000):
        customer.get(b"a", 1000)

    for _ in range(100):
        customer.send(4096)
        world.round()
        world.answer()
    neighbour.get(b"a")
    neighbour.send()
    world.round()
    world.answer()

    assert customer.stream.paused
    assert len(customer.stream.outgoing) < 2 << 20
    assert len(neighbour.got) == 1
    world.settle()
    assert len(customer.got) == 3000


def test_a_half_closed_client_gets_its_answers_and_then_the_close(world):
    """`printf ... | nc` works, also when more was sent than may be in flight."""
    customer = world.customer()
    for _ in range(100):
        customer.get(b"a")
    customer.send()
    customer.half_close()

    world.settle()

    assert len(customer.got) == 100
    assert customer.gone


def test_half_a_frame_and_the_end_is_the_end(world):
    """Nobody waits for the rest of a request whose sender has ended its side."""
    customer = world.customer()
    customer.stream.receive(b"*2\r\n$3\r\nGET\r\n$100\r\nabc")

    customer.half_close()
    world.round()

    assert customer.gone


def test_a_drained_client_gets_what_it_is_owed(world):
    """Draining answers what was taken up, takes no more, and closes."""
    customer = world.customer()
    customer.get(b"a")
    customer.send()
    customer.stream.drain()
    world.round()
    assert not customer.gone

    world.answer()

    assert len(customer.got) == 1
    assert customer.gone


def test_a_client_stays_on_a_detour_until_it_is_answered():
    """While a client's own connection is away it takes another, and comes back when nothing is open there."""
    world = World(Limits(node_connections=2))
    node = world.flow.nodes[world.flow.ring.node_of_key(b"{a}")]
    customer = world.customer()
    own, other = node.links[customer.number % 2], node.links[1 - customer.number % 2]
    world.connect(other)

    customer.get(b"a")
    customer.send()
    world.round()
    world.connect(own)
    customer.get(b"a")
    customer.send()
    world.round()
    assert (own.in_flight, other.in_flight) == (0, 2)
    world.answer()
    customer.get(b"a")
    customer.send()

    assert (own.in_flight, other.in_flight) == (1, 0)
    assert own.state == READY
    world.settle()


def test_an_inline_request_is_carried_out_as_an_ordinary_one(world):
    """With Redis's own rules for quotes."""
    customer = world.customer()
    customer.ask_raw(b'echo "a\\x41\\n b"\r\n', lambda _: bulk(b"aA\n b"))

    customer.send()
    world.round()

    assert len(customer.got) == 1
