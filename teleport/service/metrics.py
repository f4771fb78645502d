"""The state of a process as Prometheus metrics, read when they are asked for. `docs/operations.md` explains each."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

import teleport
from teleport.audit.events import UserLogin
from teleport.service.disk import room
from teleport.service.site import Site
from teleport.service.source_metrics import SOURCE_METRICS, Metric, Sample, of_notifications, of_sources

__all__ = ["METRICS", "Metrics"]


METRICS: Final[Mapping[str, Metric]] = {
    "teleport_build_info": Metric("gauge", "always 1; what runs", ("version", "python")),
    "teleport_ready": Metric("gauge", "1 if /readyz says so"),
    "teleport_warnings": Metric("gauge", "warnings that `tctl status` shows"),
    "teleport_sessions_live": Metric("gauge", "connections admitted and not over", ("service",)),
    "teleport_sessions_total": Metric("counter", "connections, by what became of them", ("service", "outcome")),
    "teleport_logins_total": Metric("counter", "logins with password and code, by outcome", ("outcome",)),
    "teleport_policy_revision": Metric("gauge", "revision of the policy that is enforced", ("service",)),
    "teleport_policy_age_seconds": Metric("gauge", "since the auth service was last heard of", ("service",)),
    "teleport_policy_unreadable": Metric("gauge", "resources that cannot be read and so deny", ("service",)),
    "teleport_policy_emergencies": Metric("gauge", "emergency changes in force, past their source", ("service",)),
    **SOURCE_METRICS,
    "teleport_audit_events_total": Metric("counter", "events written to the audit log"),
    "teleport_audit_failures_total": Metric("counter", "writes of records that failed", ("service",)),
    "teleport_spool_event_bytes": Metric("gauge", "events that wait to be sent to auth", ("service",)),
    "teleport_spool_recordings": Metric("gauge", "recordings that wait to be sent to auth", ("service",)),
    "teleport_agents_connected": Metric("gauge", "agents with a control connection to this proxy"),
    "teleport_store_revision": Metric("gauge", "revision of the store"),
    "teleport_disk_free_bytes": Metric("gauge", "left on the disk of the data directory"),
    "teleport_disk_size_bytes": Metric("gauge", "size of the disk of the data directory"),
    "teleport_certificate_expiry_seconds": Metric("gauge", "until a service's certificates run out", ("service",)),
}

_OUTCOMES: Final = ("ended", "withdrawn", "denied", "unavailable")


class Metrics:
    """A process's registry; nothing of it is global."""

    def __init__(self, site: Site) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SiteCollector(site))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self._registry)


class _SiteCollector(Collector):
    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, metric in METRICS.items():
            cls = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            families[name] = cls(name, metric.help, labels=metric.labels)
        for name, labels, value in _samples(self._site):
            families[name].add_metric(labels, value)
        return [family for family in families.values() if family.samples]

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        return []


def _samples(site: Site) -> Iterator[Sample]:
    yield "teleport_build_info", (teleport.__version__, sys.version.split()[0]), 1
    yield "teleport_ready", (), float(not site.health.reasons)
    yield "teleport_warnings", (), len(site.health.warnings)
    now = site.clock.time()
    for name, credentials in site.credentials.items():
        yield "teleport_certificate_expiry_seconds", (name,), credentials.certificates.expires - now
    if site.tunnels is not None:
        yield "teleport_agents_connected", (), site.tunnels.agents
    if site.data_dir.exists():
        disk = room(site.data_dir)
        yield "teleport_disk_free_bytes", (), disk.free
        yield "teleport_disk_size_bytes", (), disk.size
    yield from _of_members(site)
    yield from _of_auth(site)
    yield from of_sources(site.sources, now)
    if site.notifier is not None:
        yield from of_notifications(site.notifier)


def _of_members(site: Site) -> Iterator[Sample]:
    for member in site.members:
        label = (member.name,)
        yield "teleport_sessions_live", label, len(tuple(member.gate.live))
        for outcome in _OUTCOMES:
            yield "teleport_sessions_total", (member.name, outcome), member.gate.outcomes[outcome]
        yield "teleport_policy_revision", label, member.policy.current.revision
        yield "teleport_policy_age_seconds", label, member.policy.age()
        yield "teleport_policy_unreadable", label, len(member.policy.current.unreadable)
        yield "teleport_policy_emergencies", label, len(member.policy.current.overlays)
        waiting, recordings = member.spool.backlog()
        yield "teleport_spool_event_bytes", label, waiting
        yield "teleport_spool_recordings", label, recordings
        yield "teleport_audit_failures_total", label, member.spool.failures


def _of_auth(site: Site) -> Iterator[Sample]:
    if site.auth is None:
        return
    audit, (succeeded, failed) = site.auth.auth.audit, UserLogin.codes
    yield "teleport_logins_total", ("success",), audit.written[succeeded]
    yield "teleport_logins_total", ("failure",), audit.written[failed]
    yield "teleport_audit_events_total", (), audit.written.total()
    yield "teleport_audit_failures_total", ("auth",), audit.failures
    yield "teleport_store_revision", (), site.auth.replica.tables.revision
    policy = site.auth.auth.policy
    yield "teleport_policy_revision", ("auth",), policy.current.revision
    yield "teleport_policy_age_seconds", ("auth",), policy.age()
    yield "teleport_policy_unreadable", ("auth",), len(policy.current.unreadable)
    yield "teleport_policy_emergencies", ("auth",), len(policy.current.overlays)
