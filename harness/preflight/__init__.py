"""Preflight: what an experiment cannot prove, said before it is run.

The core is pure: from the objects of a mesh, an experiment and the interval of the scrapes to caveats (`examine`). Its
edge (`preflight`) reads these. A caveat refuses a run when

- it could come to no verdict: too little is counted, too short, by nobody, or the cluster would not let the fault be;
- HELD would say nothing: what is counted cannot see the fault, or the fault acts where no policy can see it;
- the policy on the way to the target is in force nowhere.

It warns when the verdict would be true, but of less than the policies promise: then the run goes on, and says so.
"""

from __future__ import annotations

from harness.preflight.drawing import table
from harness.preflight.examination import examine
from harness.preflight.premises import Premises
from harness.preflight.reading import await_scrapes, check, overriding, preflight, reads, scrape_interval_of

__all__ = [
    "Premises",
    "await_scrapes",
    "check",
    "examine",
    "overriding",
    "preflight",
    "reads",
    "scrape_interval_of",
    "table",
]
