"""What Restate's documentation sends to its agents and tells them, word by word."""

__all__ = ["CLAIM", "CLAIM_RULES"]

CLAIM = {
    "date": "2024-10-01",
    "category": "orthopedic",
    "reason": "hospital bill for a broken leg",
    "amount": 3000,
    "placeOfService": "General Hospital",
}
CLAIM_RULES = (
    "You are an insurance claim evaluation agent. Use these rules: "
    "* if the amount is more than 1000, ask for human approval, "
    "* if the amount is less than 1000, decide by yourself"
)
