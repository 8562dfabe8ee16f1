"""What can go wrong in the harness, as one sentence for a person with the cause, the place and what to do next.

::

    HarnessError                    the CLI prints it and exits with 2; pytest shows it without a traceback
     └─ PrometheusUnavailable       (harness.prometheus) the verdict is INCONCLUSIVE, with this as the reason
"""

from __future__ import annotations


class HarnessError(Exception):
    """The harness cannot or will not go on; the message is one sentence for a person."""
