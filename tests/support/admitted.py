"""What admission makes of a manifest."""

from __future__ import annotations

import yaml

from harness.localmesh.kinds.admission import admit
from harness.localmesh.store import Admitted


def admitted(resource, text, old=None):
    """The manifest after admission, whatever it warns of."""
    manifest = yaml.safe_load(text) if isinstance(text, str) else text
    made = admit("UPDATE" if old else "CREATE", resource, manifest, old)
    return made.manifest if isinstance(made, Admitted) else made
