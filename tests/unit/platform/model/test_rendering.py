"""Templates become what a server starts with, or say what is missing where."""

import re

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from overlord.config import GIB, MIB
from overlord.platform.model.codec import encode
from overlord.platform.model.default_templates import default_templates
from overlord.platform.model.errors import InvalidRecord
from overlord.platform.model.reading import check
from overlord.platform.model.release import release, releases
from overlord.platform.model.rendering import (
    CannotRender,
    Values,
    memcached_arguments,
    redis_file,
    setting_problems,
)
from overlord.platform.model.template import Directive, Template

TEMPLATES = {template.name: template for template in default_templates()}
REDIS_7 = release("redis-7.0.15")
REDIS_6 = release("redis-6.2.5")
MEMCACHED = release("memcached-1.6.18")
VALUES = Values(
    address="10.0.0.1",
    port=7000,
    bus_port=17000,
    memory=2 * GIB,
    threads=2,
    folder="/var/lib/overlord/users/3",
    password="s3cret",
    cluster="users",
    instance=3,
)


def with_directives(*directives: Directive) -> Template:
    return evolve(TEMPLATES["redis"], directives=directives)


def test_a_redis_of_a_cluster() -> None:
    lines = redis_file(TEMPLATES["redis_cluster"], REDIS_7, VALUES, {}).splitlines()

    for line in (
        "bind 10.0.0.1",
        "port 7000",
        "cluster-port 17000",
        "maxmemory 2147483648",
        "dir /var/lib/overlord/users/3",
        'user default on ">s3cret" ~* &* +@all -shutdown',
        "masterauth s3cret",
        'save ""',
        "protected-mode yes",
        "appendonly yes",
    ):
        assert line in lines


def test_a_memcached() -> None:
    values = evolve(VALUES, address="fd00::1", bus_port=0, memory=64 * MIB)

    assert memcached_arguments(TEMPLATES["memcache"], MEMCACHED, values, {}) == [
        "--listen=fd00::1", "--port=7000", "--udp-port=0", "--memory-limit=64", "--threads=2",
        "--conn-limit=10000", "--max-item-size=1048576", "--max-reqs-per-event=20",
        "--listen-backlog=1024",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["redis-3.2.8", "redis-4.0.11", "redis-5.0.14", "valkey-7.0.0", "memcached-1.6.18"]
)
def test_bug_30_a_version_that_would_not_start_is_refused(name: str) -> None:
    """Upstream offered 3.2.8, which its only template could not start; six starts failed."""
    with pytest.raises(CannotRender) as caught:
        redis_file(TEMPLATES["redis"], release(name), VALUES, {})

    assert str(caught.value) == (
        f"template 'redis': is for redis >= 6.2 or valkey >= 7.2, not {release(name)}"
    )


def test_bug_30_a_directive_is_left_out_for_versions_that_do_not_know_it() -> None:
    names_of = {
        version: {
            line.split()[0]
            for line in redis_file(TEMPLATES["redis_cluster"], version, VALUES, {}).splitlines()
        }
        for version in (REDIS_6, REDIS_7)
    }

    assert names_of[REDIS_7] - names_of[REDIS_6] == {
        "enable-protected-configs", "enable-debug-command", "enable-module-command",
        "maxmemory-clients", "cluster-port",
    }  # fmt: skip


def test_a_bus_port_that_a_version_cannot_have_is_refused() -> None:
    """Before Redis 7, the bus port is the port and 10000, whatever one would like."""
    values = evolve(VALUES, bus_port=17001)

    assert "cluster-port 17001" in redis_file(TEMPLATES["redis_cluster"], REDIS_7, values, {})
    with pytest.raises(CannotRender, match=r"redis 6\.2\.5 have no bus port but 17000 .*not 17001"):
        redis_file(TEMPLATES["redis_cluster"], REDIS_6, values, {})


def test_bug_38_nothing_of_ours_opens_a_door() -> None:
    """Upstream: every address, no password, renamed commands for all to read, remote shutdown."""
    for template in TEMPLATES.values():
        text = encode(template).decode()
        names = {directive.name for directive in template.directives}
        assert "rename-command" not in names
        assert "0.0.0.0" not in text
        assert not {"enable-shutdown", "A"} & names
        if template.cache_type != "memcache":
            rows = {directive.name: directive.value for directive in template.directives}
            assert rows["protected-mode"] == "yes"
            assert rows["user"].endswith("-shutdown")


def test_without_a_password_nobody_has_to_say_one() -> None:
    text = redis_file(TEMPLATES["redis"], REDIS_7, evolve(VALUES, password=""), {})

    assert "user default on nopass ~* &* +@all -shutdown\n" in text
    assert 'masterauth ""\n' in text


def test_every_placeholder_without_a_meaning_or_a_value_is_named() -> None:
    template = with_directives(
        Directive(name="port", value="{prot}"),
        Directive(name="cluster-port", value="{bus_port}"),
        Directive(name="dir", value="{folder"),
    )

    with pytest.raises(CannotRender) as caught:
        redis_file(template, REDIS_7, evolve(VALUES, bus_port=0), {})

    assert str(caught.value).splitlines() == [
        "template 'redis': has the unknown placeholder 'prot' in 'port' (did you mean 'port'?)",
        "template 'redis': needs a value for 'bus_port' in 'cluster-port', and there is none",
        "template 'redis': has a brace that is no placeholder in 'dir'",
    ]


def test_a_template_is_told_its_mistakes_before_anybody_renders_it() -> None:
    template = evolve(
        TEMPLATES["redis"],
        versions=(releases("memcached"),),
        directives=(
            Directive(name="prt", value="{prot} {"),
            Directive(name="port", value="{port}", adjustable=True),
            Directive(name="save", value="1 2", adjustable=True),
            Directive(name="save", value="3 4"),
        ),
    )

    with pytest.raises(InvalidRecord) as caught:
        check(template)

    assert str(caught.value).splitlines() == [
        "template: versions[0]: must be versions of redis or valkey, not 'memcached'",
        "template: directives[0].value: has the unknown placeholder 'prot' in 'prt' (did you mean 'port'?)",
        "template: directives[0].value: has a brace that is no placeholder in 'prt'",
        "template: directives: must place {address}, or all instances would have the same",
        "template: directives[1]: must not be adjustable, as the platform gives it its value",
        "template: directives[2]: must not be adjustable, as there are 2 of its name",
    ]


def test_a_cluster_may_set_what_the_template_lets_it() -> None:
    settings = {"maxmemory-policy": "noeviction", "notify-keyspace-events": '""'}

    text = redis_file(TEMPLATES["redis"], REDIS_7, VALUES, settings)

    assert "maxmemory-policy noeviction\n" in text
    assert "allkeys-lru" not in text


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"port": "1"}, "lets no cluster set 'port'"),
        ({"requirepass": "x"}, "lets no cluster set 'requirepass'"),
        ({"include": "/etc/passwd"}, "lets no cluster set 'include'"),
        ({"maxmemory-polcy": "x"}, "lets no cluster set 'maxmemory-polcy' (did you mean 'maxmemory-policy'?)"),
        ({"maxmemory-clients": "5"}, "has 'maxmemory-clients' for redis >= 7.0 or valkey, not for redis 6.2.5"),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_the_clusters_is_refused(
    settings: dict[str, str], reason: str
) -> None:
    assert setting_problems(TEMPLATES["redis"], REDIS_6, settings) == [reason]
    with pytest.raises(CannotRender, match=re.escape(reason)):
        redis_file(TEMPLATES["redis"], REDIS_6, VALUES, settings)


def words_of(line: str) -> list[str]:
    """As `sdssplitargs` of Redis takes a line apart, for what we write."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"(?= |$)|([^ "]+)', line)
    return [
        plain or re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), quoted)
        for quoted, plain in found
    ]


@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
def test_no_value_brings_a_line_or_a_word_of_its_own(password: str, folder: str) -> None:
    """Whatever a value holds, the file has the same lines with as many words."""
    values = evolve(VALUES, password=password, folder=folder)

    lines = redis_file(TEMPLATES["redis"], REDIS_7, values, {}).split("\n")

    plain = redis_file(TEMPLATES["redis"], REDIS_7, VALUES, {}).split("\n")
    assert [len(words_of(line)) for line in lines] == [len(words_of(line)) for line in plain]
    (login,) = [words_of(line)[1] for line in lines if line.startswith("masterauth ")]
    assert login.encode("latin-1") == password.encode(errors="surrogateescape")


def test_the_defaults_are_in_order() -> None:
    for template in TEMPLATES.values():
        check(template)
        assert template.name == template.cache_type
