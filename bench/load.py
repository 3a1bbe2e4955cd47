"""
Puts a load on a contestant, and says what came out: operations, latencies, processor time.

redis-benchmark makes the load, and `closed` where memcache is spoken. They ask as fast as answers
come, which is right for the cost of an operation and for the largest throughput, and wrong for
latencies at a given load; those are `paced`'s.
"""

import csv
import json
import math
import subprocess
import sys
import time

from attrs import frozen

from bench.dialects import Cluster, Redis
from bench.errors import BenchError
from bench.proc import CpuTime, cpu_time
from bench.servers import Contestant, program, spawn

LOAD_TIMEOUT = 180.0
"""Seconds after which a load that has not ended counts as hanging."""
PILOT_CPU_SECONDS = 0.15
"""What a trial run has to cost the proxy before we believe its cost per operation."""
PILOT_SECONDS = 0.5
"""Or how long it has to take, where there is no proxy."""
LONGEST_RUN = 20.0
"""Seconds that a run may take at the trial run's speed, however little processor time it needs."""
BUSY_GENERATOR = 0.85
"""The share of a core at which the paced generator is too busy to be believed."""


@frozen
class Load:
    """What clients ask."""

    command: str
    """get or set."""
    pipeline: int = 1
    """Requests that a client of Redis sends together; an operation is one of them."""
    batch: int = 1
    """Keys of one get."""
    clients: int = 50
    value_size: int = 32
    nodes: int = 4
    keys: int = 100_000
    dialect: str = Redis.name

    def __str__(self) -> str:
        command = self.command if self.batch == 1 else f"{self.command} of {self.batch} keys"
        return (
            f"{'' if self.dialect == Redis.name else f'{self.dialect} '}"
            f"{command} {self.value_size} B, {self.clients} clients, P{self.pipeline}, "
            f"{self.nodes} nodes"
        )


@frozen
class Sample:
    """One run of one load against one contestant."""

    requests: int
    ops_per_second: float
    p50_ms: float
    p99_ms: float
    user_us: float | None
    """Processor time of the proxy in user mode per operation; None where there is no proxy."""
    kernel_us: float | None
    generator_late_ms: float | None = None
    """Of a paced load: how late 1% of the requests were sent, at least."""

    @property
    def cpu_us(self) -> float | None:
        """Processor time of the proxy per operation, in microseconds."""
        if self.user_us is None or self.kernel_us is None:
            return None
        return self.user_us + self.kernel_us


def requests_for(contestant: Contestant, load: Load, cpu_seconds: float) -> int:
    """How many requests cost the proxy that much processor time, or last as long at a node."""
    requests = 2_000 * load.pipeline
    connecting = _cost_of_connecting(contestant, load)
    while True:
        before, started = _cpu(contestant), time.monotonic()
        _generate(contestant, load, requests + load.clients * load.pipeline)
        took = time.monotonic() - started
        spent = (_cpu(contestant) - before - connecting).total
        if spent >= PILOT_CPU_SECONDS or took >= 4 * PILOT_SECONDS:
            break
        if contestant.proxy_pid is None and took >= PILOT_SECONDS:
            break
        requests *= 4
    cost = took if contestant.proxy_pid is None else max(spent, 0.01)
    wanted = min(cpu_seconds / cost, LONGEST_RUN / took) * requests
    return math.ceil(wanted)


def measure(contestant: Contestant, load: Load, requests: int) -> Sample:
    """One run of a generator that asks as fast as answers come."""
    connecting = _cost_of_connecting(contestant, load)
    before = _cpu(contestant)
    row = _generate(contestant, load, requests + load.clients * load.pipeline)
    spent = _cpu(contestant) - before - connecting
    return Sample(
        requests=requests,
        ops_per_second=row["rps"],
        p50_ms=row["p50_latency_ms"],
        p99_ms=row["p99_latency_ms"],
        user_us=_per_operation(contestant, spent.user, requests),
        kernel_us=_per_operation(contestant, spent.kernel, requests),
    )


def measure_paced(contestant: Contestant, load: Load, rate: float, seconds: float) -> Sample:
    """One run of GETs at a fixed rate, from a generator in a process of its own."""
    settings = [contestant.port, rate, seconds, load.clients, load.keys, load.value_size]
    before = _cpu(contestant)
    output = _run([sys.executable, "-m", "bench.paced", *map(str, settings)], contestant, load)
    spent = _cpu(contestant) - before
    found = json.loads(output)
    if found["busy"] > BUSY_GENERATOR:
        raise BenchError(
            f"the load generator used {found['busy']:.0%} of a core for {rate:.0f} requests "
            f"a second, so the latencies would be its own (is the machine busy?)"
        )
    return Sample(
        requests=found["requests"],
        ops_per_second=found["ops_per_second"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        user_us=_per_operation(contestant, spent.user, found["requests"]),
        kernel_us=_per_operation(contestant, spent.kernel, found["requests"]),
        generator_late_ms=found["late_p99_ms"],
    )


def benchmark_row(output: str) -> dict[str, str]:
    """The last row of what `redis-benchmark --csv` printed, by the names of its columns."""
    lines = output.splitlines()
    header = next((at for at, line in enumerate(lines) if line.startswith('"test","rps"')), None)
    errors = [line for line in lines if line.startswith("Error")]
    rows = [] if header is None else list(csv.DictReader(lines[header:]))
    if errors or not rows:
        raise BenchError(f"redis-benchmark failed: {(errors or lines or ['no output'])[0]}")
    return rows[-1]


def _cost_of_connecting(contestant: Contestant, load: Load) -> CpuTime:
    """What a run costs in which each client comes, sends one pipeline, and leaves."""
    before = _cpu(contestant)
    _generate(contestant, load, load.clients * load.pipeline)
    return _cpu(contestant) - before


def _generate(contestant: Contestant, load: Load, requests: int) -> dict[str, float]:
    """Put the load on it; `rps`, `p50_latency_ms` and `p99_latency_ms` of what came out."""
    if load.dialect in (Redis.name, Cluster.name):
        output = _run(_redis_benchmark(contestant.port, load, requests), contestant, load)
        row = benchmark_row(output)
        return {name: float(row[name]) for name in ("rps", "p50_latency_ms", "p99_latency_ms")}
    settings = {
        "port": contestant.port,
        "dialect": load.dialect,
        "command": load.command,
        "batch": load.batch,
        "clients": load.clients,
        "keys": load.keys,
        "value_size": load.value_size,
        "requests": requests,
    }
    command = [sys.executable, "-m", "bench.closed", json.dumps(settings)]
    found: dict[str, float] = json.loads(_run(command, contestant, load))
    return found


def _redis_benchmark(port: int, load: Load, requests: int) -> list[str]:
    target = f"-h 127.0.0.1 -p {port} -n {requests} -c {load.clients} -P {load.pipeline}"
    values = f"-d {load.value_size} -r {load.keys} --csv"
    if load.batch > 1:
        what = ["mget", *["key:__rand_int__"] * load.batch]
    else:
        what = ["-t", load.command]
    return [program("redis-benchmark"), *target.split(), *values.split(), *what]


def _run(command: list[str], contestant: Contestant, load: Load) -> str:
    with spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as generator:
        try:
            output, errors = generator.communicate(timeout=LOAD_TIMEOUT)
        except subprocess.TimeoutExpired:
            what = f"{contestant.name} did not end within {LOAD_TIMEOUT:.0f} s"
            raise BenchError(f"{load} against {what}") from None
        finally:
            generator.kill()
    if contestant.server.process.poll() is not None:
        code = contestant.server.process.returncode
        raise BenchError(f"{contestant.name} ended with exit code {code} under {load}")
    if generator.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
        raise BenchError(f"{load} against {contestant.name}: {lines[-1]}")
    return output.decode(errors="replace")


def _cpu(contestant: Contestant) -> CpuTime:
    pid = contestant.proxy_pid
    if pid is None:
        return CpuTime(0.0, 0.0)
    try:
        return cpu_time(pid)
    except (OSError, IndexError) as error:
        raise BenchError(f"{contestant.name} has ended: {error}") from error


def _per_operation(contestant: Contestant, seconds: float, requests: int) -> float | None:
    return None if contestant.proxy_pid is None else seconds / requests * 1e6
