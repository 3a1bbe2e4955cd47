"""
The whole decision, without I/O: client bytes in, writes for nodes out; node bytes in, writes for clients out.

    requests   a client's bytes -> commands -> their nodes' links        commands, keys: the table
    parts      clients, pending replies, links, nodes: what they owe each other
    replies    a node's bytes -> replies -> the clients that they are owed to
    join       the replies to the parts of a split command become one
    local      what is answered without a node               local_client, _command, _config, _info, _reserved
    pins       connections for one client at a time          pinned, errand: what they are used for
    redis_flow all of it for one cluster

So that no reply is lost, doubled, swapped or late for another can be tested without a connection.
"""
