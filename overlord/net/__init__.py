"""
The transports and listeners that the proxy runs on. Knows no command and no key.

    Protocol.connectionMade -> Carriage.adopt -> a Carrier for its stream   (carriage: Twisted's transports)
                                              -> the same, in an epoll of its own       (hub: compiled only)

    unix_port    listening on unix sockets that outlive a killed process
"""
