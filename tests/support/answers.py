"""What an API server at the wire goes by and says."""

from __future__ import annotations

from typing import Any

TOKEN = "a-secret-token"


def refusal(code: int, reason: str, message: str = "", budget: str = "") -> dict[str, Any]:
    """The body by which an API server refuses; `budget` is what a PodDisruptionBudget says."""
    causes = [{"reason": "DisruptionBudget", "message": budget}] if budget else []
    said = {"reason": reason, "message": message, "code": code, "details": {"causes": causes}}
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", **said}
