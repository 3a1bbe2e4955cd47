"""
Becomes a program as systemd starts it: with sockets from descriptor 3 on, and told so.

Usage: standin_systemd.py DESCRIPTOR=NAME[,DESCRIPTOR=NAME...] PROGRAM [ARGUMENT...]
"""

import os
import sys

FIRST, ASIDE = 3, 200

passed = [pair.partition("=") for pair in sys.argv[1].split(",") if pair]
# First out of the way: some may lie where others have to go.
for index, (number, _, _) in enumerate(passed):
    os.dup2(int(number), ASIDE + index)
    os.close(int(number))
for index in range(len(passed)):
    os.dup2(ASIDE + index, FIRST + index)
    os.close(ASIDE + index)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(passed))
os.environ["LISTEN_FDNAMES"] = ":".join(name for _, _, name in passed)
os.execvp(sys.argv[2], sys.argv[2:])
