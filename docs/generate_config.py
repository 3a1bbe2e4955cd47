"""
Prints `docs/config.md`: every key of our files, from the docstrings of the classes that hold them.

    python docs/generate_config.py > docs/config.md
"""

# ruff: noqa: INP001  # a script, no package

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs

from overlord.config import ClusterConfig, ProxyConfig, ProxyTable
from overlord.config.units import (
    Between,
    Bytes,
    Seconds,
    shown_duration,
    shown_size,
)
from overlord.config.upstream import CLUSTER_KEYS, PROXY_FILE_KEYS

HEAD = """\
# Configuration

<!-- Written by docs/generate_config.py from the docstrings in overlord/config. Change it there. -->

The proxy reads two TOML files.
`--cluster FILE` names the clusters, each under `[[clusters]]`; `--conf FILE` concerns the process and may be absent.
`twistd overlord-proxy --test --cluster FILE [--conf FILE]` checks both and prints what would be served.
All mistakes are reported at once, each as `file: table.key: what would be right, not what is there`.
Examples that run as they are lie in `conf/`.

Keys are matched whatever their case, and a key that nobody knows is an error.
Nothing is coerced: `"3"` is no number, and `true` is none either.

**Durations** are a number of milliseconds, or a text with its unit: `"250us"`, `"200ms"`, `"1.5s"`, `"2m"`, `"1h"`.
**Sizes** are a number of bytes, or a text: `"512B"`, `"64KiB"`, `"8MiB"`, `"4GiB"`.
`KB`, `MB` and `GB` are refused, because to some they are powers of 1000, to Redis users of 1024.
"""

UPSTREAM = """\
## Files of the Go program

Files of the Go program of the same name can be used as they are, as far as this version serves what they ask for.
These keys are accepted with a warning, and do nothing:
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    parts += ["## The cluster file\n\n### `[[clusters]]`\n", *sections(ClusterConfig)]
    parts += ["## The proxy's file\n\n### Before any table\n", *sections(ProxyConfig)]
    parts += ["### `[proxy]`\n", sentences(inspect.cleandoc(ProxyTable.__doc__ or "")) + "\n"]
    parts += [*sections(ProxyTable), UPSTREAM]
    ignored = {"clusters": CLUSTER_KEYS, "proxy file": PROXY_FILE_KEYS}
    parts.append(
        "\n".join(
            f"- `{key}` ({where}): {what}."
            for where, keys in ignored.items()
            for key, what in keys.items()
        )
    )
    return "\n".join(parts) + "\n"


def sections(cls: type) -> Iterator[str]:
    """What each key takes, its default and its meaning."""
    texts = docstrings(cls)
    for field in attrs.fields(cls):
        if not attrs.has(field.type):
            facts = f"{takes(field.type)}; {default(field)}"
            yield f"#### `{field.name}`\n\n*{facts}*\n\n{sentences(texts[field.name])}\n"


def docstrings(cls: type) -> dict[str, str]:
    """The text below each field of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(str(text.value.value))
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def sentences(text: str) -> str:
    """One sentence per line, so that a change shows as what it is."""
    return re.sub(r"(?<=[.]) (?=[A-Z0-9`])", "\n", " ".join(text.split()))


def takes(type_: Any) -> str:
    """What may be written behind a key."""
    if get_origin(type_) is Literal:
        *others, last = (f'`"{word}"`' for word in get_args(type_))
        return f"{', '.join(others)} or {last}"
    if get_origin(type_) is Annotated:
        number, *notes = get_args(type_)
        bounds = next(note for note in notes if isinstance(note, Between))
        kind = {Seconds: "a duration", Bytes: "a size"}.get(number, "a whole number")
        return f"{kind} from {shown(number, bounds.low)} to {shown(number, bounds.high)}"
    if get_origin(type_) is tuple:
        return "a list of texts"
    if get_origin(type_) is dict:
        return "a table of texts"
    return "true or false" if type_ is bool else "a text"


def default(field: "attrs.Attribute[Any]") -> str:
    """What holds without the key."""
    value = field.default
    if value is attrs.NOTHING:
        return "required"
    if get_origin(field.type) in (tuple, dict):
        return "empty by default"
    if isinstance(value, bool):
        return f"`{str(value).lower()}` by default"
    if isinstance(value, str):
        return f'`"{value}"` by default'
    text = shown(get_args(field.type)[0], value)
    return f"`{text}` by default" if text.isdigit() else f'`"{text}"` by default'


def shown(kind: Any, value: Any) -> str:
    """A number as one would write it into a file."""
    if kind is Seconds:
        return shown_duration(value)
    return shown_size(value) if kind is Bytes else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
