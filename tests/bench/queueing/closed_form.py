"""What is known exactly of simple queues: the simulation is held against it.

Sources: Gross, Shortle, Thompson, Harris, Fundamentals of Queueing Theory (4th ed.), sections 2.3 and 5.1.
Times are seconds, rates a second. Everything raises ValueError where the queue would grow for ever.
"""

from __future__ import annotations

import math


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that wait in M/M/c. `load`: arrivals a second times the mean service time.

    By Erlang B's recursion, which neither overflows nor cancels however many servers there are.
    """
    if not 0 <= load < servers:
        raise ValueError(f"a load of {load:g} on {servers} servers")
    lost = 1.0
    for count in range(1, servers + 1):
        lost = load * lost / (count + load * lost)
    return lost / (1 - load / servers * (1 - lost))


def mean_wait(servers: int, rate: float, service_s: float) -> float:
    """In M/M/c, of all arrivals."""
    load = rate * service_s
    return erlang_c(servers, load) * service_s / (servers - load)


def wait_quantile(servers: int, rate: float, service_s: float, share: float) -> float:
    """The wait that `share` of the arrivals do not exceed in M/M/c, first come, first served:
    P(W > t) = C exp(-(c - a) t / s)."""
    load = rate * service_s
    waiting = erlang_c(servers, load)
    if share <= 1 - waiting:
        return 0.0
    return math.log(waiting / (1 - share)) * service_s / (servers - load)


def mean_wait_single(rate: float, mean_s: float, mean_of_squares: float) -> float:
    """In M/G/1 (Pollaczek and Khinchine): rate E[S²] / 2 (1 - rate E[S])."""
    load = rate * mean_s
    if not 0 <= load < 1:
        raise ValueError(f"a load of {load:g} on one server")
    return rate * mean_of_squares / (2 * (1 - load))


def servers_for(load: float, within_s: float, service_s: float, share: float) -> int:
    """The fewest servers with which `share` of the arrivals of an M/M/c queue wait no longer."""
    servers = math.floor(load) + 1
    while wait_quantile(servers, load / service_s, service_s, share) > within_s:
        servers += 1
    return servers
