"""`cgr-proxy cache stats | purge | prune | verify`: look after the store, also while it is in use.

Exit 0 when it is done, 1 when `verify` has found something, 66 when there is no store, 75 when it
cannot be had just now, 77 when it belongs to another user, 78 for a wrong configuration. With
`--json` one JSON object on stdout. Non-goals: doing the work (`proxy.storage`, `proxy.cache`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from proxy.cache.selection import Selection, ecosystem_of, readable_key, title_of
from proxy.cli.configuration import Commands, add_config_option, report
from proxy.config import ConfigError, Settings, load
from proxy.ecosystems import ECOSYSTEMS
from proxy.storage.desk import Desk, open_desk
from proxy.storage.table import IndexBroken, IndexBusy
from proxy.storage.takeover import is_store
from proxy.storage.verify import verify

EX_NOINPUT = 66
EX_TEMPFAIL = 75
EX_NOPERM = 77
Job: TypeAlias = Callable[[Desk, Settings, argparse.Namespace], int]


def register(commands: Commands) -> None:
    """Add the command and its parts to the parser."""
    parser = commands.add_parser(
        "cache",
        help="look after the store",
        description="Look after the store of the configuration, also while the proxy runs.",
        allow_abbrev=False,
    )
    parts = parser.add_subparsers(metavar="PART", required=True)
    _add(parts, "stats", _stats, "what the store holds")
    purge = _add(parts, "purge", _purge, "remove the entries of a package, or of a prefix")
    purge.add_argument(
        "selection",
        metavar="PREFIX-or-PURL",
        type=_selection,
        help="such as pkg:pypi/flask@3.0.3, pkg:pypi/flask, python/flask, python",
    )
    _add(parts, "prune", _prune, "remove what nobody needs, and bring the index up to date")
    check = _add(parts, "verify", _verify, "hash every body and say what is wrong; exit 1 then")
    check.add_argument("--remove", action="store_true", help="remove what is wrong")


def _add(parts: Commands, name: str, job: Job, meaning: str) -> argparse.ArgumentParser:
    parser = parts.add_parser(
        name, help=meaning, description=f"{meaning.capitalize()}.", allow_abbrev=False
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=lambda arguments: _run(job, arguments))
    return parser


def _selection(text: str) -> Selection:
    try:
        selection = Selection.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    known = [ecosystem.name for ecosystem in ECOSYSTEMS]
    if (named := selection.parts.partition("/")[0]) not in known:
        raise argparse.ArgumentTypeError(
            f'"{named}" is no ecosystem: begin with pkg: or one of {", ".join(known)}'
        )
    return selection


def _run(job: Job, arguments: argparse.Namespace) -> int:
    try:
        settings = load(arguments.config, os.environ, {})
    except ConfigError as error:
        return report(error)
    directory = settings.cache.directory
    if not is_store(directory):
        return _refuse(f"there is no store in {directory}", EX_NOINPUT)
    try:
        with _desk(directory) as desk:
            return job(desk, settings, arguments)
    except BrokenPipeError:
        raise  # it is our output that nobody reads, not the store
    except PermissionError as error:
        return _refuse(f"{directory}: {error.strerror}", EX_NOPERM)
    except (IndexBusy, IndexBroken, OSError) as error:
        return _refuse(f"the store cannot be had just now: {error}", EX_TEMPFAIL)


@contextmanager
def _desk(directory: Path) -> Iterator[Desk]:
    desk = open_desk(directory, time.time)
    try:
        yield desk
    finally:
        desk.close()


def _refuse(message: str, code: int) -> int:
    print(f"cgr-proxy: {message}", file=sys.stderr)
    return code


def _stats(desk: Desk, settings: Settings, arguments: argparse.Namespace) -> int:
    entries: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    ends: dict[str, tuple[float, str]] = {}
    for entry in desk.index.entries():
        name = ecosystem_of(entry.key)
        entries[name] += 1
        sizes[name] += entry.size
        use = entry.used_at, entry.key
        ends["oldest"] = min(use, ends.get("oldest", use))
        ends["newest"] = max(use, ends.get("newest", use))
    books = desk.index.books()
    if arguments.json:
        return _print_json(
            {
                "entries": books.entries,
                "bytes": books.total,
                "max_size": settings.cache.max_size,
                "ecosystems": {
                    name: {"entries": entries[name], "bytes": sizes[name]} for name in entries
                },
                **{
                    name: {"used_at": used_at, "name": title_of(key), "key": readable_key(key)}
                    for name, (used_at, key) in ends.items()
                },
            }
        )
    limit = settings.cache.max_size
    print(f"store       {settings.cache.directory}")
    print(f"entries     {books.entries}")
    print(f"bytes       {_size(books.total)} of {_size(limit)}")
    for name in sorted(entries):
        print(f"{name:<11} {entries[name]} entries, {_size(sizes[name])}")
    for name, (used_at, key) in ends.items():
        when = datetime.fromtimestamp(used_at, UTC).isoformat(timespec="seconds")
        print(f"{name + ' use':<11} {when}  {title_of(key)}")
    return 0


def _purge(desk: Desk, _: Settings, arguments: argparse.Namespace) -> int:
    selection: Selection = arguments.selection
    entries, size = desk.purge(selection.prefix, selection.matches)
    if arguments.json:
        return _print_json({"entries": entries, "bytes": size})
    said = "1 entry" if entries == 1 else f"{entries} entries"
    print(f"removed {said}, {_size(size)}" if entries else "removed nothing: no entry matches")
    return 0


def _prune(desk: Desk, _: Settings, arguments: argparse.Namespace) -> int:
    found = desk.reconcile()
    if arguments.json:
        return _print_json(asdict(found))
    print(f"entries     {found.entries}, {found.added} of them new to the index")
    print(f"removed     {found.broken} entries of no use, {found.orphans} bodies without an entry")
    print(f"            {found.flights} transfers that died, {found.forgotten} rows of the index")
    print(f"freed       {_size(found.freed)}")
    return 0


def _verify(desk: Desk, _: Settings, arguments: argparse.Namespace) -> int:
    files = size = 0
    findings = []
    for checked in verify(desk.storage, remove=arguments.remove):
        files += 1
        size += checked.size
        if checked.finding is not None:
            findings.append(checked.finding)
            if not arguments.json:
                name, problem, key = checked.finding
                print(f"{name}: {problem}" + (f" ({title_of(key)})" if key else ""))
    if arguments.json:
        rows = [
            {"name": name, "problem": problem, "key": readable_key(key)}
            for name, problem, key in findings
        ]
        _print_json({"files": files, "bytes": size, "removed": arguments.remove, "findings": rows})
    else:
        done = ", removed" if findings and arguments.remove else ""
        print(f"{files} files, {_size(size)} of bodies: {len(findings)} findings{done}")
    return 1 if findings else 0


def _print_json(data: Mapping[str, object]) -> int:
    print(json.dumps(data, indent=2))
    return 0


def _size(count: int) -> str:
    """Bytes for a person: `1.5 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
