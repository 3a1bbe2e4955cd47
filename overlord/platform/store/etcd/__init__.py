"""
The home in etcd, over its HTTP gateway (etcd 3.4 and later).

    EtcdStore (home)  a call -> messages (JSON out) -> Gateway (an endpoint that answers) -> messages (JSON in)
    EtcdWatch         a stream from one endpoint, and a probe that asks whether the stream still tells all
    refusals          what etcd says went wrong -> one of our errors
    agent             Twisted's HTTP client, with TLS

No threads: why the gateway and not a library that speaks gRPC is told in `docs/decisions`.
"""
