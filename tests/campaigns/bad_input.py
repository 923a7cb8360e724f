"""A campaign of bad input: every handler of every notebook, and the stand-in for a model.

    python -m tests.campaigns.bad_input --seed 1 --cases 200 --notebooks 01 02

Each handler gets `--cases` requests from schemathesis, which reads the OpenAPI document that the
server gives for its service, half of them valid; and on top of these the bodies, keys and paths
of our own in `bad_requests.py`. All go through the ingress as messages, and then the outcome of
each is fetched. A handler may

- answer with 2xx, and then as its OpenAPI document says;
- refuse with 4xx: by the ingress, or by a TerminalError with that status;
- fail with the documented typed failure: `{"code", "message", "source": "invocation"}`, without a
  stack trace, at the first try. That is what a TerminalError without a status of its own becomes
  (500), and what the SDK makes of input that Pydantic refuses (500, "Unable to parse an input
  argument");
- wait: for a human, for a time, for another invocation that waits.

Everything else is a finding: a failure of the server itself, an answer in another form, none at
all, a failure that came after retries (bad input is as bad the second time), an invocation that
retries or is paused.

The stand-in answers 2xx in the form that the `openai` package reads, or 4xx in OpenAI's words:
`{"error": {"message", "type", "param", "code"}}`. Never 5xx.

Exits with 1 if there are findings; each is shown with a curl line that sends it again.
"""

import argparse
import io
import sys
from contextlib import redirect_stdout

import tour
from tests.campaigns import bad_input_agents, bad_input_model
from tests.campaigns.findings import Row, table
from tests.helpers.fresh_home import fresh_home
from tour.home import course

__all__ = ["campaign", "main"]


def campaign(notebooks: list[str], cases: int, seed: int) -> list[Row]:
    """Run the campaign with the server and the model of this process."""
    tour.start()
    rows = []
    for number in notebooks:
        services = bad_input_agents.services_of(number)
        rows += bad_input_agents.fuzz(services, cases, seed)
        print(f"{number}: {len(services)} services", file=sys.stderr)
    return rows + bad_input_model.fuzz(tour.offline.url, cases, seed)


def main() -> int:
    """Run the campaign in a home of its own, and return the exit status."""
    there = sorted(path.name[:2] for path in course().glob("[0-9]*.ipynb"))
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=200, help="requests drawn for each handler")
    parser.add_argument("--notebooks", nargs="*", default=there, metavar="NUMBER")
    given = parser.parse_args()
    with fresh_home(), redirect_stdout(io.StringIO()):  # agents print
        rows = campaign(given.notebooks, given.cases, given.seed)
    print(f"{table(rows)}\n\nseed {given.seed}, {given.cases} cases a handler")
    return int(any(row.findings for row in rows))


if __name__ == "__main__":
    sys.exit(main())
