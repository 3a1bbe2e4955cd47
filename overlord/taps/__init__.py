"""
What `twistd` needs of each service: its options, and how it is made of its parts.

    proxy    the options of `twistd overlord-proxy`, and the proxy with its metrics
    trial    what can be found out before the start: addresses, paths
    files    what the command line names, read and checked whole; whether it has changed
    reload   when it is read again, and what is said about that
    pages    what the stat site shows besides the numbers
    daemon   exit codes, signals, and a start that fails in one sentence
    notify   what systemd is told: serving, stopping
"""
