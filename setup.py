"""
The package's own build: plain Python everywhere, compiled where Cython and a C compiler are at hand.

The modules in `COMPILED` are ordinary Python (Cython's pure mode), so that an installation without a C
compiler works all the same, only slower. `OVERLORD_PURE=1` builds such an installation on purpose.
"""

import os
import sys

from setuptools import Extension, find_packages, setup

COMPILED = [
    "overlord/wire/buffer.py",
    "overlord/wire/stream.py",
    "overlord/wire/resp.py",
    "overlord/hashing/keyhash.py",
    "overlord/hashing/ring.py",
    "overlord/proxy/flow/commands.py",
    "overlord/proxy/flow/parts.py",
    "overlord/proxy/flow/join.py",
    "overlord/proxy/flow/requests.py",
    "overlord/proxy/flow/replies.py",
    "overlord/proxy/flow/redis_flow.py",
    "overlord/net/hub.py",
]


def extensions() -> list[Extension]:
    """The extensions to build; none where they are not wanted or Cython is missing."""
    if os.environ.get("OVERLORD_PURE") == "1":
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        print("overlord: Cython is missing, so nothing is compiled", file=sys.stderr)
        return []
    modules = [
        Extension(path.removesuffix(".py").replace("/", "."), [path], optional=True)
        for path in COMPILED
        if os.path.exists(path)
    ]
    directives = {
        "language_level": 3,
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": False,
        "freethreading_compatible": False,
    }
    built: list[Extension] = cythonize(modules, compiler_directives=directives)
    return built


setup(
    packages=[*find_packages(include=["overlord", "overlord.*"]), "twisted.plugins"],
    package_dir={"": "."},
    package_data={"overlord": ["py.typed"], "": ["*.pxd"]},
    ext_modules=extensions(),
)
