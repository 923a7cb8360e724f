"""What tests share. Each test file takes from here what another would write a second time.

The agents of a notebook:

- `agents.agents_of("04", "crm")`: a fixture, the agents' module, served for the tests of a file.
- `agents.serve_again`, `serve_if_down`, `crash`: what serves them, after a test has broken it.
- `agents.services_of`, `unfinished`, `kill_all`: their services, and the invocations under way.
- `agents.failure_of(run, "words")`: wait for an invocation that must fail.
- `agents.refuses(path, wrong)`: a handler refuses what it cannot read.
- `agents.says`, `text`, `tool_call`: words of ours in the model's mouth.
- `agents.namespace(agent, source)`: a cell, such as a learner's solution, run after the snippets.
- `exercise_source`: the notebooks' cells, the exercises' solutions, and stubs made of them.
- `committed_pictures`: a journal's picture as a notebook's file keeps it, a PNG.
- `documented`: what Restate's documentation sends to its agents, word by word.
- `exported.alone`, `register`: an exported project as a program without the tour.

Over HTTP, and in processes of their own:

- `outside.post`, `get`, `attach`, `output_of`: a service as other programs reach it.
- `outside.set_for_servers`: variables for every server that is started from now on.
- `serving.serve`: a fixture, `tour.serve` whose endpoints end with the test.
- `serving.stand_in()`: the stand-in for a model, as long as it is needed.
- `programs.begin`, `output`: a Python program of its own.
- `programs.servers_of(folder)`: the servers that keep their data there.
- `kernels.Kernel`: a real kernel, driven cell by cell, or all cells at once.
- `labs.Lab`, `run_in`: `tour lab` as a shell starts it, and its kernels.
- `environments`: the tour's commands in an environment that somebody else has set.

Where tests run:

- `fresh_home.fresh_home()`: an empty home with the installed server; `forget`: no such variables.
- `ports_apart.home_below`: homes whose services' ports do not meet.
- `ROOT`: the repository.
"""

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).parents[2]
