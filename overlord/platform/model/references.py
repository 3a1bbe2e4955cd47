"""What a record names has to exist: rules about a record and all others."""

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from overlord.config import Problem, did_you_mean
from overlord.platform.model.cluster import Cluster
from overlord.platform.model.front_end_port import FrontEndPort
from overlord.platform.model.host import Host
from overlord.platform.model.instance import Instance
from overlord.platform.model.job import Job
from overlord.platform.model.record import Record
from overlord.platform.model.release import release
from overlord.platform.model.rendering import setting_problems
from overlord.platform.model.secrets import Secrets
from overlord.platform.model.template import CacheType, Template
from overlord.platform.model.topology import Topology
from overlord.platform.model.units import AppidName, VersionName
from overlord.platform.model.work import ChangeConfig, Replace, Upgrade, Work


@frozen(kw_only=True)
class Known:
    """What exists, by name, as far as records of the kinds that are looked at may name it."""

    groups: Mapping[str, object] = field(factory=dict)
    appids: Mapping[str, object] = field(factory=dict)
    versions: Mapping[str, object] = field(factory=dict)
    templates: Mapping[str, Template] = field(factory=dict)
    clusters: Mapping[str, object] = field(factory=dict)
    hosts: Mapping[str, object] = field(factory=dict)


def _unknown(where: str, what: str, name: str, known: Mapping[str, object]) -> Iterator[Problem]:
    if name not in known:
        yield Problem(where, f"there is no {what} {name!r}{did_you_mean(name, known)}")


def _group(known: Known, group: str) -> Iterator[Problem]:
    yield from _unknown("group", "group", group, known.groups)


def _appids(known: Known, appids: Sequence[AppidName]) -> Iterator[Problem]:
    for index, appid in enumerate(appids):
        yield from _unknown(f"appids[{index}]", "appid", appid, known.appids)


def _version(known: Known, version: VersionName) -> Iterator[Problem]:
    yield from _unknown("version", "version", version, known.versions)


def _template(known: Known, template: str) -> Iterator[Problem]:
    yield from _unknown("template", "template", template, known.templates)


def _cluster(known: Known, cluster: str) -> Iterator[Problem]:
    yield from _unknown("cluster", "cluster", cluster, known.clusters)


def _host(known: Known, host: str) -> Iterator[Problem]:
    yield from _unknown("host", "host", host, known.hosts)


def _template_fits(known: Known, template: str, cache_type: CacheType) -> Iterator[Problem]:
    found = known.templates.get(template)
    if found is not None and found.cache_type != cache_type:
        what = f"must be one for {cache_type}, but {template!r} is for {found.cache_type}"
        yield Problem("template", what)


def _version_starts(known: Known, template: str, version: VersionName) -> Iterator[Problem]:
    found = known.templates.get(template)
    if found is not None and not found.is_for(release(version)):
        what = f"must be one that the template {template!r} is for, {found.versions_in_words()}"
        yield Problem("version", f"{what}, not {version!r}")


def _settings_fit(
    known: Known, template: str, version: VersionName, settings: dict[str, str]
) -> Iterator[Problem]:
    found = known.templates.get(template)
    if found is not None:
        for what in setting_problems(found, release(version), settings):
            yield Problem("settings", f"the template {template!r} {what}")


def _work_names(known: Known, work: Work) -> Iterator[Problem]:
    """What a job is to bring about has to exist, too."""
    if isinstance(work, Upgrade):
        yield from _unknown("work.version", "version", work.version, known.versions)
    if isinstance(work, ChangeConfig):
        yield from _unknown("work.template", "template", work.template, known.templates)
        template = known.templates.get(work.template)
        for what in setting_problems(template, None, work.settings) if template else ():
            yield Problem("work.settings", f"the template {work.template!r} {what}")
    if isinstance(work, Replace):
        for index, host in enumerate(work.avoid):
            yield from _unknown(f"work.avoid[{index}]", "host", host, known.hosts)


REFERENCES: Mapping[type[Record], tuple[object, ...]] = {
    Cluster: (_group, _appids, _version, _template, _template_fits, _version_starts, _settings_fit),
    Host: (_group,),
    Instance: (_cluster, _host, _version),
    Topology: (_cluster,),
    Secrets: (_cluster,),
    FrontEndPort: (_cluster,),
    Job: (_cluster, _work_names),
}
"""Rules of each kind of record that need to know what else exists."""
