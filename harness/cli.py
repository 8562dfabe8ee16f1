"""The command `harness`: the local mesh up and down, the experiments run, leftovers healed.

Exit codes: 0 all is well; 1 a verdict is not what was expected; 2 something has to be mended first, and one sentence
on standard error says what.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

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


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="harness", description=__doc__.split("\n")[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_meshes(commands)
    _add_runs(commands)
    _add_compare(commands)
    _add_stops(commands)
    return parser


def _add_meshes(commands: _Commands) -> None:
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


def _add_runs(commands: _Commands) -> None:
    run = commands.add_parser("run", help="run the experiments; everything after it goes to pytest")
    run.add_argument(
        "--dry-run", action="store_true", help="show objects, patches, pods and evidence; write nothing"
    )
    run.add_argument("pytest", nargs=argparse.REMAINDER, help="for example: experiments --mesh=local")
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="say what experiments cannot prove, before they are run")
    check.add_argument("pytest", nargs=argparse.REMAINDER, help="as for run (default: experiments)")
    check.set_defaults(command=_check)

    mutate = commands.add_parser(
        "mutate", help="weaken what experiments guard, one field at a time, and see whether they notice"
    )
    mutate.add_argument("pytest", nargs=argparse.REMAINDER, help="as for run (default: experiments)")
    mutate.set_defaults(command=_mutate)

    rbac = commands.add_parser("rbac", help="print the least Roles with which experiments can be run")
    rbac.add_argument("pytest", nargs=argparse.REMAINDER, help="as for run (default: experiments)")
    rbac.set_defaults(command=_rbac)

    heal = commands.add_parser("heal", help="revert whatever an earlier run left in a mesh")
    heal.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")
    heal.add_argument("--kube-context", help="default: the kubeconfig's current context")
    heal.add_argument(
        "--patience", type=float, default=15.0, metavar="SECONDS",
        help="for how long to try again what fails, an API server that is away included (default: 15)",
    )  # fmt: skip
    heal.add_argument(
        "--manifest",
        action="store_true",
        help="print a CronJob that heals a cluster every minute, and do nothing",
    )
    heal.add_argument("--image", default="mesh-harness", help="of that CronJob (default: mesh-harness)")
    heal.set_defaults(command=_heal)


def _add_compare(commands: _Commands) -> None:
    compare = commands.add_parser("compare", help="hold two runs against each other, or two phases of one")
    compare.add_argument(
        "journals", nargs="+", type=Path, metavar="JOURNAL", help="one or two *.jsonl of reports"
    )
    compare.add_argument(
        "--phases",
        default="observe,observe",
        metavar="A,B",
        help="of the first and the second (default: observe)",
    )
    compare.set_defaults(command=_compare)


def _add_stops(commands: _Commands) -> None:
    stop = commands.add_parser("stop", help="stop every run of this user, and let none begin")
    stop.set_defaults(command=_stop)
    resume = commands.add_parser("resume", help="take back what stop did")
    resume.set_defaults(command=_resume)
    for each in (stop, resume):
        each.add_argument(
            "--namespace", help="also the runs of others that aim at this namespace, by its label"
        )
        each.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")
        each.add_argument("--kube-context", help="default: the kubeconfig's current context")


def _compare(options: argparse.Namespace) -> int:
    from harness import journal  # noqa: PLC0415 - as below
    from harness.contrast import contrast  # noqa: PLC0415

    first, _, second = options.phases.partition(",")
    runs = [journal.read(path) for path in (options.journals * 2)[:2]]
    for one in contrast(*runs, phases=(first, second or first)):
        print(one)  # noqa: T201 - it is what was asked for
    return 0


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
    given = ["--harness-dry-run" if item == "--dry-run" else item for item in options.pytest]
    if options.dry_run:
        given.insert(0, "--harness-dry-run")
    return _pytest(given)


def _check(options: argparse.Namespace) -> int:
    return _pytest(["--harness-check", "-q", *options.pytest])


def _mutate(options: argparse.Namespace) -> int:
    return _pytest(["--harness-mutate", *options.pytest])


def _rbac(options: argparse.Namespace) -> int:
    """What pytest says goes to standard error, so that the Roles can be piped into kubectl."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roles.yaml"
        with contextlib.redirect_stdout(sys.stderr):
            code = _pytest([f"--harness-rbac={path}", "-q", *options.pytest])
        if code == 0:
            print(path.read_text() if path.exists() else "", end="")  # noqa: T201
    return code


def _pytest(given: Sequence[str]) -> int:
    import pytest  # noqa: PLC0415

    # Without any path the experiments of the project are meant. Locust comes with a plugin for pytest, too, which
    # patches the standard library of whoever loads it. That our own package is imported already is no news.
    known = ["-p", "no:locust", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    paths = [] if any(not item.startswith("-") for item in given) else ["experiments"]
    return int(pytest.main([*known, *given, *paths]))


def _heal(options: argparse.Namespace) -> int:
    if options.manifest:
        from harness.cronjob import cronjob  # noqa: PLC0415

        print(cronjob(options.image), end="")  # noqa: T201
        return 0
    from harness.cluster import Cluster  # noqa: PLC0415
    from harness.healing import heal  # noqa: PLC0415
    from harness.ledger import Ledger  # noqa: PLC0415

    patience: float = options.patience
    with Cluster.connect(options.kubeconfig, options.kube_context, patience=patience) as cluster:
        healing = heal(cluster, Ledger(), patience=patience)
    for line in healing.sentences:
        _say(line)
    if not healing.sentences:
        _say(
            "Nothing to heal: neither this machine's ledger nor any object in the cluster names an earlier run."
        )
    return 2 if healing.failed or healing.unseen else 0


def _stop(options: argparse.Namespace) -> int:
    from harness.killswitch import stop  # noqa: PLC0415
    from harness.ledger import Ledger  # noqa: PLC0415

    _say(f"Every run ends within a second, and none begins as long as there is the file {stop(Ledger())}.")
    _label(options, stopped=True)
    return 0


def _resume(options: argparse.Namespace) -> int:
    from harness.killswitch import resume  # noqa: PLC0415
    from harness.ledger import Ledger  # noqa: PLC0415

    _say(f"Runs may begin again: the file {resume(Ledger())} is gone.")
    _label(options, stopped=False)
    return 0


def _label(options: argparse.Namespace, *, stopped: bool) -> None:
    """Sets or removes the label of the namespace, if one was named."""
    if not options.namespace:
        return
    from harness.cluster import Cluster  # noqa: PLC0415
    from harness.killswitch import STOP, label  # noqa: PLC0415

    with Cluster.connect(options.kubeconfig, options.kube_context) as cluster:
        label(cluster, options.namespace, stopped=stopped)
    _say(
        f"The namespace {options.namespace} {'carries' if stopped else 'no longer carries'} the label {STOP}=true."
    )


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
