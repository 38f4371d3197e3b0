"""The test origin as a program: `python -m tests.origin`.

Purpose: trying the proxy by hand and from scripts. Prints one line when it is ready:
`origin ready URL store URL control URL registry URL apk URL`; SIGTERM or SIGINT ends it.
Non-goals: production.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

from tests.origin import jars, modules, nupkgs
from tests.origin.content import Content
from tests.origin.control import Control
from tests.origin.download import DownloadFailed, Filler, cache_folder, real
from tests.origin.origin import Origin
from tests.origin.probed import add_probed
from tests.origin.settled import settled
from tests.origin.tarballs import add_tiny


def main() -> int:
    """Run until told to end; 0, or 1 when the content cannot be had."""
    options = _options()
    folder: Path = options.content or cache_folder()
    try:
        content = Content.tiny() if options.tiny else real(folder)
    except DownloadFailed as error:
        print(f"the package client could not fetch the content: {error}", file=sys.stderr)
        return 1
    for file in (*jars.tiny(), *modules.tiny()):
        content.add(file)
    add_probed(content)
    nupkgs.add_tiny(content)
    asyncio.run(_run(options, content, folder))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.origin", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--store-port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--content", type=Path, help="folder that real packages are kept in")
    parser.add_argument("--credentials-out", type=Path, help="folder for username and password")
    parser.add_argument("--tiny", action="store_true", help="made-up packages only, no network")
    parser.add_argument("--fill", action="store_true", help="take unknown projects through pip")
    return parser.parse_args()


async def _run(options: argparse.Namespace, content: Content, folder: Path) -> None:
    pip = settled(os.environ) if options.fill else nullcontext(os.environ)
    with pip as environment:
        await _serve(options, content, Filler(folder, environment) if options.fill else None)


async def _serve(options: argparse.Namespace, content: Content, filler: Filler | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    add_tiny(content)
    origin = Origin(
        content=content,
        port=options.port,
        store_port=options.store_port,
        fill=filler.fill if filler else None,
    )
    if filler:
        filler.content = origin.content
    control = Control(origin, options.control_port)
    async with origin:
        await control.listener.open()
        if options.credentials_out:
            _write_credentials(options.credentials_out, origin)
        ready = f"origin ready {origin.url} store {origin.store_url} control"
        ready = f"{ready} {control.listener.url} registry {origin.registry_url}"
        print(f"{ready} apk {origin.apk_url}", flush=True)
        await stop.wait()
        await control.listener.close(keep_port=False)
        if filler:
            await filler.stop()


def _write_credentials(folder: Path, origin: Origin) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("username", origin.username), ("password", origin.password)):
        path = folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(value)


if __name__ == "__main__":
    sys.exit(main())
