"""
What holds for all tests: which overlord they got, and how hard hypothesis tries.

tox sets `OVERLORD_EXPECT` to `compiled` or `pure`. Then a run that got the other one, a mixture, or
the checkout instead of the installed package ends before its first test. Without it anything goes.
"""

import ast
import importlib.machinery
import importlib.util
import os
import sysconfig
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# Two cores shared by many processes make any deadline a matter of luck.
settings.register_profile("gate", deadline=None, print_blob=True)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=2000)
settings.load_profile("gate")


def compiled_modules() -> list[str]:
    """The modules that setup.py compiles, by their import names."""
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "COMPILED":
            return [
                path.removesuffix(".py").replace("/", ".")
                for path in ast.literal_eval(statement.value)
            ]
    raise AssertionError("setup.py has no list COMPILED")


def built_as(module: str) -> tuple[str, Path]:
    """`compiled` or `pure`, and the file that an import of `module` would load."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        pytest.exit(f"{module} stands in setup.py, and cannot be imported", returncode=1)
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    return ("compiled" if spec.origin.endswith(suffixes) else "pure"), Path(spec.origin)


def pytest_report_header() -> str:
    found = {built_as(module)[0] for module in compiled_modules()}
    return f"overlord: {' and '.join(sorted(found))}"


def pytest_sessionstart() -> None:
    expected = os.environ.get("OVERLORD_EXPECT", "")
    if not expected:
        return
    installed = Path(sysconfig.get_path("platlib"))
    for module in compiled_modules():
        found, file = built_as(module)
        if found != expected:
            pytest.exit(f"{module} is {found}, this run is for {expected}: {file}", returncode=1)
        if not file.is_relative_to(installed):
            pytest.exit(f"{module} is not the installed one: {file}", returncode=1)


@pytest.fixture(scope="session")
def compiled_sources() -> list[str]:
    """The list COMPILED of setup.py."""
    return [f"{module.replace('.', '/')}.py" for module in compiled_modules()]
