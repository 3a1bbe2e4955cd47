"""
The whole decision, without I/O: client bytes in, writes for nodes out; node bytes in, writes for clients out.

    requests   a client's bytes -> commands -> their nodes' links        commands, keys: the table
    parts      clients, pending replies, links, nodes: what they owe each other
    replies    a node's bytes -> replies -> the clients that they are owed to
    join       the replies to the parts of a split command become one
    local      what is answered without a node               local_client, _command, _config, _info, _reserved
    gate       who sees a client's requests first            pinned, errand: with connections of its own (pins)
                                                             stranger: before it has given its password
    channels   what clients listen to                        subscriber: one client; listening: the nodes' side
    redis_flow all of it for one cluster

Beside the way: `redis_commands` is the table of commands (a row: `command_row`), `book` what a configuration makes of
it, `commands` the table for compiled code, `keys` where a command has its keys, `command_errors` the errors in the words
of Redis, `latencies` how long requests took, by `command_class`.

So that no reply is lost, doubled, swapped or late for another can be tested without a connection.
"""
