"""
Where requests meet nodes. `flow` decides, without I/O; the files around it move bytes.

    client -> frontend -> flow.requests -> ring: which node -> link -> node_conn -> node     requests
    client <- frontend <- flow.join     <- flow.replies     <- link <- node_conn <- node     replies

    pool            opens the links to one node, and opens them again
    health          asks the nodes how they are (probe), has who fails ejected (standing)
    cluster         all of this for one cluster
    listener        the address that its clients come to
    inherited       sockets that systemd has opened for it
    change          another configuration for a proxy that runs
    retired         nodes that it has no more, until they have answered
    service         all clusters of a process: start, timeouts, drain
    command_names   whether a configuration names commands that there are
    facts           what the proxy says about itself to clients
    measurements    what it says to Prometheus
    overview        what it says to people and programs: node_state for each node, overview_page for browsers
    memory          what was used once goes back to the system
"""
