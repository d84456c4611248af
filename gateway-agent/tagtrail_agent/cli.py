"""`tagtrail-agent`: run, check, enrol, nearby, status, simulate, bench, aside, launch."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tagtrail_agent import VERSION, checking, config, enrolment_client, logs, nearby_cli
from tagtrail_agent.assembly import KINDS, simulation
from tagtrail_agent.benchmark import adverts_per_s
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.errors import AgentError, ConfigError
from tagtrail_agent.runtime import Agent
from tagtrail_agent.simulation import SimulationOptions, simulated_tags
from tagtrail_agent.store import Store
from tagtrail_agent.updates import Versions, environment

log = logging.getLogger(__name__)

FAILED: Final = 1
WRONG: Final = 2
"""Exit codes: something does not work; the command or the configuration is wrong."""

_ABOUT: Final = """\
Hears tags and brings their readings to a Tagtrail server.

To begin: ask for an enrolment code in the console or by the API, then
  tagtrail-agent enrol --server https://tagtrail.example --code ABCD-EFGH-JKLM
  tagtrail-agent check
  tagtrail-agent run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.act(given)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tagtrail-agent",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _run_parser(commands)
    check = _command(commands, "check", _check, "look whether everything would work")
    _json(check)
    check.add_argument(
        "--offline", action="store_true", help="only the configuration, without the server"
    )
    status = _command(commands, "status", _status, "show the last heartbeat of the running agent")
    _json(status)
    nearby = _command(
        commands, "nearby", nearby_cli.run, "show what is around, to find a tag to enrol",
        nearby_cli.MORE,
    )  # fmt: skip
    nearby_cli.add_options(nearby)
    _json(nearby)
    _simulate_parser(commands)
    _enrol_parser(commands)
    bench = commands.add_parser("bench", help="measure how fast this machine decodes adverts")
    bench.add_argument("--seconds", type=float, default=2.0, help="how long (default: 2)")
    _json(bench)
    bench.set_defaults(act=_bench)
    launch = _command(
        commands, "launch", _launch, "start the newest good version with `run`",
        "For the service manager: it takes a version back that was started too often in vain.",
    )  # fmt: skip
    launch.add_argument("--log-level", default="INFO")
    aside = _command(
        commands, "aside", _aside, "show batches that the server would not take",
        "The agent must not run while --retry is used.",
    )  # fmt: skip
    aside.add_argument("--retry", action="store_true", help="queue them again")
    _json(aside)
    return parser


def _run_parser(commands: Any) -> None:
    kinds = "\n".join(f"  {name:<12}{kind.words}" for name, kind in sorted(KINDS.items()))
    run = _command(
        commands, "run", _run, "hear and send until told to stop",
        f"Kinds of [[input]] in the configuration:\n{kinds}",
    )  # fmt: skip
    run.add_argument(
        "--until-done", action="store_true",
        help="end when all inputs have ended (as of a recording) and everything is confirmed",
    )  # fmt: skip
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])


def _command(
    commands: Any, name: str, act: Any, words: str, more: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=words, description=words.capitalize() + ".", epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, default=config.DEFAULT_PATH, metavar="FILE",
        help=f"configuration (default: {config.DEFAULT_PATH})",
    )  # fmt: skip
    parser.set_defaults(act=act)
    return parser


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _simulate_parser(commands: Any) -> None:
    parser = _command(
        commands, "simulate", _simulate, "send what tags would say that do not exist",
        "Register the tags first: --list prints them as POST /v1/tags takes them.",
    )  # fmt: skip
    parser.add_argument("--tags", type=int, default=20, help="how many tags (default: 20)")
    parser.add_argument("--rate", type=float, default=20.0, help="adverts a second (default: 20)")
    parser.add_argument("--seconds", type=float, help="how long (default: until stopped)")
    parser.add_argument("--strangers", type=float, default=0.0, metavar="PERCENT",
                        help="part of adverts that nobody enrolled (default: 0)")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the tags and end")
    parser.add_argument("--log-level", default="WARNING", choices=["INFO", "WARNING", "ERROR"])
    _json(parser)


def _enrol_parser(commands: Any) -> None:
    parser = _command(commands, "enrol", _enrol, "make this machine a gateway of a server")
    parser.add_argument("--server", required=True, metavar="URL", help="address of the server")
    parser.add_argument("--code", required=True, help="one-time code, from the console or the API")
    parser.add_argument("--ca-file", type=Path, metavar="FILE",
                        help="certificates to trust instead of the system's")  # fmt: skip
    parser.add_argument("--state", type=Path, metavar="FOLDER",
                        help="where the queue lies (default: /var/lib/tagtrail-agent)")  # fmt: skip
    parser.add_argument("--insecure-http", action="store_true",
                        help="allow http:// to another machine: code and key can be overheard")  # fmt: skip
    _json(parser)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _run(given: argparse.Namespace) -> int:
    logs.to_standard_error(given.log_level)
    loaded = config.load(given.config)
    if not loaded.inputs:
        raise ConfigError(f"{given.config} has no [[input]]; add one, see `tagtrail-agent run -h`")
    asyncio.run(_until_told(Agent(loaded), until_done=given.until_done))
    return 0


async def _until_told(
    agent: Agent, seconds: float | None = None, *, until_done: bool = False
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    await agent.run(stop, until_done=until_done)


def _launch(given: argparse.Namespace) -> int:
    logs.to_standard_error(given.log_level)
    versions = Versions(config.updates_in(given.config).root)
    try:
        folder = versions.before_start()
    except OSError as error:
        raise AgentError(f"cannot write into the folder of versions: {error}") from error
    command = [sys.executable, "-P", "-m", "tagtrail_agent", "run", "--config", str(given.config),
               "--log-level", given.log_level]  # fmt: skip
    os.execve(sys.executable, command, environment(folder))  # noqa: S606 - it replaces this process


def _simulate(given: argparse.Namespace) -> int:
    if given.list:
        _say(json.dumps(simulated_tags(given.tags)))
        return 0
    logs.to_standard_error(given.log_level)
    if not 1 <= given.tags <= 65_536 or not 0.1 <= given.rate <= 100_000:
        raise ConfigError("--tags must be 1 to 65536, --rate 0.1 to 100000")
    options = SimulationOptions(
        tags=given.tags, adverts_per_s=given.rate, strangers_pct=given.strangers
    )
    clock = SystemClock()
    agent = Agent(config.load(given.config), clock=clock, inputs=[simulation(options, clock)])
    asyncio.run(_until_told(agent, given.seconds))
    figures = agent.heartbeat.figures()
    _say(json.dumps(figures) if given.json else _table(figures))
    return 0


def _table(members: dict[str, Any]) -> str:
    lines = []
    for name, value in members.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{k} {v}" for k, v in value.items() if v)
            lines.append(f"{name:<16} {inner or '-'}")
        else:
            lines.append(f"{name:<16} {'-' if value is None else value}")
    return "\n".join(lines)


def _check(given: argparse.Namespace) -> int:
    findings = asyncio.run(checking.checked(given.config, offline=given.offline))
    if given.json:
        _say(json.dumps([dataclasses.asdict(f) for f in findings]))
    else:
        for finding in findings:
            _say(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.words}")
    return 0 if all(f.ok for f in findings) else FAILED


def _status(given: argparse.Namespace) -> int:
    path = config.load(given.config).state / "status.json"
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AgentError(f"there is no {path} yet; is the agent running?") from None
    except (OSError, ValueError) as error:
        raise AgentError(f"{path} cannot be read: {error}") from error
    _say(json.dumps(figures) if given.json else _table(figures))
    return 0


def _bench(given: argparse.Namespace) -> int:
    figures = dict(adverts_per_s(given.seconds))
    _say(json.dumps(figures) if given.json else _table(figures))
    return 0


def _aside(given: argparse.Namespace) -> int:
    loaded = config.load(given.config)
    path = loaded.state / "outbox.db"
    if not path.exists():
        raise AgentError(f"there is no {path}; the agent has not run yet")
    store = Store(path, most_bytes=int(2 * loaded.outbox.max_mb * 1_048_576))
    try:
        batches = store.aside()
        if given.retry:
            items = store.bring_back()
            _say(json.dumps({"queued": items}) if given.json else f"{items} items queued again")
            return 0
    finally:
        store.close()
    if given.json:
        _say(json.dumps([dataclasses.asdict(b) for b in batches]))
    for batch in batches if not given.json else ():
        _say(f"{batch.batch_id}  {batch.items} items  {batch.reason}: {batch.detail}")
    return 0


def _enrol(given: argparse.Namespace) -> int:
    found = enrolment_client.enrol(
        enrolment_client.Request(
            server=given.server, code=given.code, config_path=given.config,
            ca_file=given.ca_file, state=given.state, insecure_http=given.insecure_http,
        )
    )  # fmt: skip
    if given.json:
        _say(json.dumps({"gateway_id": found.gateway_id, "site_id": found.site_id,
                         "config": str(given.config), "new_config": found.wrote_config}))  # fmt: skip
    else:
        _say(f"This machine is now the gateway {found.gateway_id} at the site {found.site_id}.")
        _say(f"Next: add [[input]] entries to {given.config}, then `tagtrail-agent check`.")
    return 0
