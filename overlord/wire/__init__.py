"""
Codecs, buffers and streams: bytes in, frames out, and back, without I/O.

    bytes read -> Stream.take_in -> RequestScanner / ReplyScanner: where frames end   (stream, resp)
    decisions  -> Buffer: bytes on their way, counted                                 (buffer)
    Outbox.flush -> Carrier.flush -> bytes written                                    (stream)
    replies of our own, in RESP2 and RESP3                                            (resp_encode)

Its modules are compiled where a C compiler is, and are imported by name: a `cimport` needs the exact one.
"""
