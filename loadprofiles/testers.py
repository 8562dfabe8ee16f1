"""People who look around as in `browse`, and say in a header that they are testers."""

import browse


class Tester(browse.Browse):
    """One tester."""

    default_headers = {"x-tester": "yes"}  # noqa: RUF012 - locust reads it from the class
