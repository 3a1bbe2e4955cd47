"""
The package's own build: plain Python everywhere, compiled where a C compiler is at hand.

The modules in `COMPILED` are ordinary Python in Cython's pure mode, so an installation without a C
compiler works all the same, only slower. They are compiled all or none: they cimport from each
other, and half of them compiled could not. `OVERLORD_PURE=1` builds uncompiled on purpose.
"""

import os
import tempfile
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CCompilerError, CompileError, ExecError, LinkError, PlatformError

COMPILED = [
    "overlord/wire/buffer.py",
    "overlord/wire/stream.py",
    "overlord/wire/marks.py",
    "overlord/wire/resp.py",
    "overlord/wire/memcache_binary.py",
    "overlord/wire/memcache_text.py",
    "overlord/hashing/keyhash.py",
    "overlord/hashing/ring.py",
    "overlord/hashing/slot_ring.py",
    "overlord/proxy/flow/commands.py",
    "overlord/proxy/flow/latencies.py",
    "overlord/proxy/flow/dialect.py",
    "overlord/proxy/flow/parts.py",
    "overlord/proxy/flow/client.py",
    "overlord/proxy/flow/node_link.py",
    "overlord/proxy/flow/join.py",
    "overlord/proxy/flow/requests.py",
    "overlord/proxy/flow/replies.py",
    "overlord/proxy/flow/pins.py",
    "overlord/proxy/flow/listening.py",
    "overlord/proxy/flow/ring_flow.py",
    "overlord/proxy/flow/redis_flow.py",
    "overlord/proxy/flow/slot_flow.py",
    "overlord/proxy/flow/cluster_client.py",
    "overlord/proxy/flow/cluster_link.py",
    "overlord/proxy/flow/cluster_flow.py",
    "overlord/proxy/flow/memcache_dialect.py",
    "overlord/proxy/flow/memcache_join.py",
    "overlord/proxy/flow/memcache_link.py",
    "overlord/proxy/flow/memcache_client.py",
    "overlord/proxy/flow/memcache_flow.py",
    "overlord/proxy/flow/memcache_binary_link.py",
    "overlord/proxy/flow/memcache_binary_client.py",
    "overlord/proxy/flow/memcache_binary_flow.py",
    "overlord/net/hub.py",
]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": False,
}

TRANSLATED = "build/cython"
"""Where the generated C lies: outside the package, so that neither wheel nor sdist takes it in."""

NO_COMPILER = (CCompilerError, CompileError, ExecError, LinkError, OSError, PlatformError)


class CopyAfresh(build_py):
    """Copies the sources, and forgets those of an earlier build that have been deleted since."""

    def run(self) -> None:
        current = {Path(file) for file in self.get_finalized_command("build_ext").get_outputs()}
        for file in Path(self.build_lib).rglob("*"):
            if file.is_file() and file not in current:
                file.unlink()
        super().run()


class BuildAllOrNone(build_ext):
    """Builds every extension, or, where the C compiler or its headers fail, none of them; on all processors."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        try:
            self._try_compiler()
            self._translate()
            super().build_extensions()
        except NO_COMPILER as error:
            self._build_none(error)

    def _try_compiler(self) -> None:
        """Compile two lines, so that a machine without a compiler is not kept waiting for Cython."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("#include <Python.h>\nint overlord_probe(void) { return 0; }\n")
            self.compiler.compile([str(source)], output_dir=folder)

    def _translate(self) -> None:
        """Turn the Python sources into C. Here, and not in `setup()`, because only a build needs it."""
        from Cython.Build import cythonize  # a build without compiler goes without

        translated = cythonize(
            [Extension(extension.name, list(extension.sources)) for extension in self.extensions],
            build_dir=TRANSLATED,
            compiler_directives=DIRECTIVES,
        )
        for extension, made in zip(self.extensions, translated, strict=True):
            extension.sources = made.sources

    def _build_none(self, error: Exception) -> None:
        """Take back what was built, also by an earlier editable installation: it is out of date."""
        self.warn(f"overlord is installed uncompiled, and will be slow: {error}")
        source_root = Path(self.distribution.package_dir[""])
        for extension in self.extensions:
            file_name = self.get_ext_filename(self.get_ext_fullname(extension.name))
            Path(self.build_lib, file_name).unlink(missing_ok=True)
            if self.inplace or self.editable_mode:
                (source_root / file_name).unlink(missing_ok=True)
        self.extensions = []


def extensions() -> list[Extension]:
    """The extensions to build, the sources still Python."""
    if os.environ.get("OVERLORD_PURE") == "1":
        return []
    return [
        Extension(path.removesuffix(".py").replace("/", "."), [path])
        for path in COMPILED
        if Path(path).exists()
    ]


setup(
    # Without an __init__.py `twisted.plugins` is not found by find_packages, and must not have one:
    # it only adds a file to Twisted's own package.
    packages=[*find_packages(include=["overlord", "overlord.*"]), "twisted.plugins"],
    # Makes an editable installation one plain .pth entry; with setuptools' import hook instead,
    # `twistd` would not find the plugins.
    package_dir={"": "."},
    package_data={"overlord": ["py.typed"], "": ["*.pxd"]},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildAllOrNone, "build_py": CopyAfresh},
)
