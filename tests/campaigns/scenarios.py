"""The documented calls of the exported agents, for campaigns."""

from dataclasses import dataclass
from typing import Any

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """A call of an agent.

    Attributes:
        notebook: whose agent it is.
        path: of the handler, on the ingress; a key is put in for `{key}`.
        bodies: of which one is sent; each has an undisturbed run to compare with.
        width: how many steps are in flight at most at the same time.
        sturdy: whether no two faults can use up the tries of its model calls (notebook 6).
    """

    notebook: str
    path: str
    bodies: tuple[Any, ...]
    width: int = 1
    sturdy: bool = False


def _prompts(*prompts: str) -> tuple[Any, ...]:
    return tuple({"prompt": prompt} for prompt in prompts)


def _messages(*messages: str) -> tuple[Any, ...]:
    return tuple({"message": message} for message in messages)


def _topics(*topics: str) -> tuple[Any, ...]:
    return tuple({"topic": topic} for topic in topics)


CLAIMS: tuple[Any, ...] = (
    {},
    {"category": "car", "reason": "new tyres", "amount": 700, "placeOfService": "Garage"},
)
BILLS = _prompts("Process my hospital bill of 3000 USD for a broken leg.", "Pay my 500 USD bill.")
PAYMENTS = _prompts("Reimburse my hospital bill of 3000 EUR.", "Pay 80 USD for my new tyres.")
TASKS: tuple[Any, ...] = ({}, {"standards": "a docstring, type hints and tests"})
TEXT = "It is slow. I hate it. The support was nice."

SCENARIOS = (
    Scenario("01", "/WeatherAgent/run", _prompts("Weather in Oslo?", "Weather in Lima and Quito?")),
    Scenario("02", "/HumanClaimApprovalAgent/run", BILLS),
    Scenario("02", "/HumanClaimApprovalWithTimeoutAgent/run", BILLS),
    Scenario("02", "/GatedPaymentAgent/run", BILLS),
    Scenario("03", "/Chat/{key}/message", _messages("My name is Ada.", "What is my name?")),
    Scenario("03", "/ThriftyChat/{key}/message", _messages("My name is Ada.")),
    Scenario("04", "/SubWorkflowClaimAgent/run", BILLS),
    Scenario("04", "/ToolRouter/route", _messages("Which plan am I on?", "My laptop is on fire")),
    Scenario("04", "/TicketDesk/report", _messages("My screen is green")),
    Scenario("04", "/MultiAgentClaimApproval/run", CLAIMS),
    Scenario("04", "/AsyncNotificationsAgent/{key}/run", _prompts("Summarise: It is. It was.")),
    Scenario("05", "/ParallelToolClaimAgent/run", CLAIMS, width=3),
    Scenario("05", "/ParallelToolAgent/run", _messages("Weather in Rome, Lima and Oslo?"), width=3),
    Scenario("05", "/ParallelAgentsService/analyze_text", _messages(TEXT), width=3),
    Scenario("05", "/ParallelAgentClaimApproval/run", CLAIMS, width=3),
    Scenario("06", "/ErrorHandlingAgent/run", _prompts("Weather in Oslo and Pripyat?")),
    Scenario(
        "06",
        "/BookingWithRollbackAgent/book",
        _messages("Book a hotel, a car and a flight to Rome.", "Book a hotel and a flight to SFO."),
        sturdy=True,
    ),
    Scenario("07", "/ClaimReimbursement/process", PAYMENTS),
    Scenario("07", "/CodeGenerator/generate", TASKS),
    Scenario("07", "/ResearchReport/generate", _topics("bees, wasps and ants", "tea"), width=3),
    Scenario("07", "/AgentRouter/answer", _messages("I want a refund", "I forgot my password")),
    Scenario("07", "/SupportDesk/{key}/message", _messages("Which invoice has my password on it?")),
    Scenario("08", "/Progress/{key}/publish", ({"text": "I have begun."},)),
    Scenario("08", "/CodingAgent/{key}/message", ({}, {"content": "Build a clock. With hands."})),
    Scenario(
        "08", "/FollowUpAgent/run", ({"seconds": 0.3}, {"message": "My cat is Mia.", "seconds": 0})
    ),
    Scenario("08", "/MorningAgent/run", _prompts("Summarise: It is. It was.")),
    Scenario("08", "/BudgetedAgent/run", ({"team": "a"}, {"team": "b", "prompt": "Hello"})),
    Scenario(
        "09", "/WeatherSdkAgent/run", _prompts("Weather in Oslo?", "Weather in Lima or Rome?")
    ),
    Scenario("09", "/ClaimSdkAgent/run", BILLS),
    Scenario("09", "/ChatSdkAgent/{key}/message", _messages("My name is Ada.", "Who am I?")),
    Scenario("10", "/ParcelDesk/ask", _prompts("Where is parcel 4711?", "Has parcel 7 arrived?")),
)
