"""A simulated tenant with all of its lists, small ones, in a process of its own."""

from __future__ import annotations

import sys

from cw_pipeline.simulator import Simulator, seed_tenant

if __name__ == "__main__":
    tickets, latency = int(sys.argv[1]), float(sys.argv[2])
    simulator = Simulator(seed_tenant(tickets), latency=latency, page_cache=True)
    sys.stdout.write(f"{simulator.url}\n")
    sys.stdout.flush()
    simulator.run()
