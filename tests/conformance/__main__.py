"""`python -m tests.conformance`: our translation against istiod's, on written and on generated cases."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import yaml
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis.errors import NoSuchExample
from rich.console import Console

from tests.conformance.case import PROXY, Asked, Case, read, settled
from tests.conformance.generate.cases import cases
from tests.conformance.istiod import PROGRAM, Istiod
from tests.conformance.known import KNOWN
from tests.conformance.tally import Tally, group
from tests.conformance.verdict import judge

WRITTEN = Path(__file__).parent / "cases"
_QUIET = [
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
]


def main() -> int:
    """Runs the cases, prints what differs, and answers 0 when every difference is explained."""
    wish = _arguments()
    console = Console(width=200, soft_wrap=True, highlight=False)
    tally = Tally()
    started = time.monotonic()
    with Istiod(wish.program) as istiod:
        for case in map(_written, wish.files or sorted(WRITTEN.glob("*.yaml"))):
            tally.add(case, judge(istiod, case))
        console.print(f"{tally.cases} written cases; {wish.cases} generated ones with SEED={wish.seed}")
        if wish.cases:
            _generated(istiod, wish.cases, wish.seed, tally, console)
        _report(tally, wish.show, console)
        for kind in [name for name in tally.groups if wish.shrink is not None and wish.shrink in name][:1]:
            _shrink(istiod, kind, wish.seed, console)
    console.print(
        f"{tally.cases} cases, {tally.resources} resources compared, {tally.known} known differences "
        f"({len(KNOWN)} kinds), {tally.unexplained} unexplained differences ({len(tally.groups)} kinds); "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if tally.unexplained else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="written cases, instead of those in cases/")
    parser.add_argument("--cases", type=int, default=2000, help="how many cases to generate")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the generated cases")
    parser.add_argument("--show", type=int, default=20, help="how many kinds of differences to show")
    parser.add_argument(
        "--shrink",
        nargs="?",
        const="",
        help="look for the smallest case with a difference of the first kind, or the first with this in its name",
    )
    parser.add_argument("--program", type=Path, default=PROGRAM, help="istiod-translate")
    return parser.parse_args()


def _written(file: Path) -> Case:
    """The case in a file: every pod with a proxy is asked."""
    manifests, mesh = read(file)
    objects = settled(manifests)
    asked = []
    for item in objects:
        names = [one["name"] for one in item["spec"]["containers"]] if item["kind"] == "Pod" else []
        if PROXY in names:
            metadata = item["metadata"]
            asked.append(Asked(metadata["name"], metadata["namespace"], gateway=len(names) == 1))
    return Case(objects, tuple(asked), mesh)


def _generated(istiod: Istiod, count: int, number: int, tally: Tally, console: Console) -> None:
    done = 0

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=_QUIET,
    )
    @given(cases())
    def one(case: Case) -> None:
        nonlocal done
        tally.add(case, judge(istiod, case))
        done += 1
        if done % 100 == 0:
            console.print(f"{done}/{count}: {tally.unexplained} unexplained differences")

    one()


def _report(tally: Tally, show: int, console: Console) -> None:
    for reason, times in tally.refused.most_common(show):
        console.print(f"left out {times} times, as only our admission refuses it: {reason}", markup=False)
    ranked = Counter({name: found.times for name, found in tally.groups.items()})
    for name, times in ranked.most_common(show):
        console.print(f"\n{name}: {times} times, first in case {tally.groups[name].case}", markup=False)
        console.print(str(tally.groups[name].example), markup=False)


def _shrink(istiod: Istiod, wanted: str, number: int, console: Console) -> None:
    """Prints the smallest case found that has a difference of the kind `wanted`."""

    def has_it(case: Case) -> bool:
        return any(group(item) == wanted for item in judge(istiod, case).unexplained)

    try:
        quiet = settings(max_examples=3000, database=None, deadline=None, suppress_health_check=_QUIET)
        smallest = find(cases(), has_it, settings=quiet, random=random.Random(number))
    except NoSuchExample:
        console.print(f"not found again: {wanted}", markup=False)
        return
    console.print(f"\nthe smallest case with {wanted}:", markup=False)
    console.print(yaml.safe_dump_all(smallest.istio(), sort_keys=False), markup=False)
    services = [item for item in smallest.kubernetes() if item["kind"] in ("Service", "Pod")]
    console.print(yaml.safe_dump_all(services, sort_keys=False), markup=False)


if __name__ == "__main__":
    sys.exit(main())
