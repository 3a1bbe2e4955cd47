"""
Benchmarks side by side: a Redis server itself, twemproxy's `nutcracker`, and Overlord.

    scenarios    which loads, as rows of a table
        -> servers    starts nodes and proxies, and ends them
        -> load       puts a load on one of them; operations, latency, processor time
        -> paced      the load generator with a fixed rate, a program of its own
        -> memory     idle clients and one huge value
        -> figures    samples -> ratios, round by round
        -> wanted     what each ratio has to be
        -> report     tables for people, Markdown, JSON

`python -m bench --help` says how to run it, README.md how to read what it prints.
"""
