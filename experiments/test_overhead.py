"""The sidecars on the way cost little.

A request for items passes three proxies at four listeners, and the program at the end takes 2 to 5 ms. Half
of all requests have to be through within 100 ms, which leaves even a busy laptop twenty times what they take
on a quiet one; what the control adds, 250 ms at one of the sidecars, is what a filter that calls somebody
would.

Guards: EnvoyFilters, Wasm and external authorization in the sidecars. Evidence of the control: the flag DI.
"""

from harness import SLO, BlastRadius, Delay, Experiment, Load, Nothing, Target, Verdict, latency

QUICK = SLO(
    "half of the items come within 100 ms", latency("frontend", namespace="shop", quantile=0.5), at_most=0.1
)


def experiment(fault):
    return Experiment(
        hypothesis=[QUICK],
        target=Target("catalog", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=100, users=40, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=3),
        guards=(),
    )


def test_sidecars_cost_little(run):
    run(experiment(Nothing()))


def test_one_that_is_slow_is_noticed(run):
    run(experiment(Delay(0.25)), expect=Verdict.VIOLATED)
