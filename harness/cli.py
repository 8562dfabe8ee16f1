"""The command `harness`: the local mesh up and down, the experiments run, leftovers healed.

Exit codes: 0 all is well; 1 a verdict is not what was expected; 2 something has to be mended first, and one sentence
on standard error says what.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.localmesh.errors import MeshError
from harness.localmesh.launch import Addresses, detach, end, find, home


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (HarnessError, MeshError) as error:
        _say(f"harness: {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="harness", description=__doc__.split("\n")[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="bring a local mesh up and print how to reach it")
    up.add_argument(
        "-f",
        dest="files",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="a manifest or a folder of them; may be given again",
    )
    up.add_argument("--detach", action="store_true", help="leave it running in the background")
    up.set_defaults(command=_up)

    status = commands.add_parser("status", help="say whether the mesh is up, and how to reach it")
    status.set_defaults(command=_status)

    down = commands.add_parser("down", help="take the mesh down")
    down.set_defaults(command=_down)

    for each in (up, status, down):
        each.add_argument(
            "--name", default="default", help="which mesh, where there are several (default: default)"
        )

    run = commands.add_parser("run", help="run the experiments; everything after it goes to pytest")
    run.add_argument("pytest", nargs=argparse.REMAINDER, help="for example: experiments --mesh=local")
    run.set_defaults(command=_run)

    heal = commands.add_parser("heal", help="revert whatever an earlier run left in a mesh")
    heal.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")
    heal.add_argument("--kube-context", help="default: the kubeconfig's current context")
    heal.set_defaults(command=_heal)
    return parser


def _up(options: argparse.Namespace) -> int:
    directory = home(options.name)
    if options.detach:
        _print_exports(detach(directory, options.files, _say))
        return 0
    # Imported here: the other commands need nothing of the mesh itself, and start four times as fast without.
    from harness.localmesh.__main__ import serve  # noqa: PLC0415

    def ready(addresses: Addresses) -> None:
        _print_exports(addresses)
        _say("The mesh is up; Ctrl-C takes it down.")

    serve(directory, options.files, _say, ready)
    _say("The mesh is down.")
    return 0


def _status(options: argparse.Namespace) -> int:
    running = find(home(options.name))
    if running is None:
        _say(f"No mesh named {options.name} is up; harness up -f PATH brings one up.")
        return 1
    if running.addresses is None:
        _say(f"The mesh {options.name} is coming up (process {running.pid}).")
        return 1
    _say(f"The mesh {options.name} is up (process {running.pid}).")
    _print_exports(running.addresses)
    return 0


def _down(options: argparse.Namespace) -> int:
    was_up = end(home(options.name))
    _say("The mesh is down." if was_up else f"No mesh named {options.name} is up; nothing to do.")
    return 0


def _run(options: argparse.Namespace) -> int:
    import pytest  # noqa: PLC0415

    # Locust comes with a plugin for pytest too, which patches the standard library of whoever loads it.
    return int(pytest.main(["-p", "no:locust", *(options.pytest or ["experiments"])]))


def _heal(options: argparse.Namespace) -> int:
    from harness.cluster import Cluster  # noqa: PLC0415
    from harness.injection import heal  # noqa: PLC0415
    from harness.ledger import Ledger  # noqa: PLC0415

    with Cluster.connect(options.kubeconfig, options.kube_context) as cluster:
        healing = heal(cluster, Ledger())
    for line in healing.sentences:
        _say(line)
    if not healing.sentences:
        _say(
            "Nothing to heal: this machine's ledger and the EnvoyFilters in the cluster name no earlier run."
        )
    return 2 if healing.failed or healing.unseen else 0


def _print_exports(addresses: Addresses) -> None:
    """Shell exports on standard output, where nothing else goes: `eval "$(harness up --detach -f PATH)"` works."""
    for name, value in (
        ("KUBECONFIG", str(addresses.kubeconfig)),
        ("ENTRY_URL", addresses.entry_url),
        ("PROMETHEUS_URL", addresses.prometheus_url),
    ):
        print(f"export {name}={shlex.quote(value)}", flush=True)  # noqa: T201


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
