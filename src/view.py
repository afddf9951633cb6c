"""Look at results in a browser: slides with their layers, or the patches of a run."""

import getpass
import logging
import os
import socket
import sys
from pathlib import Path

from epsam.config.command_line import folder_to_flag, run_stage
from epsam.config.view import ViewOptions
from epsam.core.errors import DatasetError
from epsam.corrections.store import CorrectionStore
from epsam.paths import RunPaths
from epsam.view.catalogue import read_catalogue
from epsam.view.export import export_page
from epsam.view.export_gallery import export_gallery
from epsam.view.image_site import ImageSite
from epsam.view.run_patches import TrainingRun
from epsam.view.run_site import RunSite
from epsam.view.server import ViewServer

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
"""infer.sh works in this folder, so relative paths in its records begin here."""


def main(options: ViewOptions) -> None:
    """Serve the page until Ctrl-C, or write it as files."""
    if not options.folder:
        raise DatasetError("no folder; give an output folder of infer.sh: ./view.sh infer_output/x")
    site = open_site(options)
    if options.export:
        if isinstance(site, ImageSite):
            export_page(site, Path(options.export), options.export_mb)
        else:
            export_gallery(site, Path(options.export), options.export_mb)
        log.info("page: %s", Path(options.export, "index.html"))
        return
    site.start()
    with ViewServer(site, options.port) as server:
        announce(server)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            log.info("closed")


def open_site(options: ViewOptions) -> ImageSite | RunSite:
    """The site of a folder of results or of a run."""
    folder = Path(options.folder)
    corrections = Path(options.corrections)
    if corrections.exists() and not corrections.is_dir():
        raise DatasetError(f"{corrections}: is no folder; give that of the corrections")
    # An exported page has nowhere to write to.
    can_write = options.corrections and not options.export
    store = CorrectionStore(corrections) if can_write else None
    if RunPaths(folder).options.is_file():
        return RunSite(TrainingRun(folder, ROOT), store)
    return ImageSite(read_catalogue(folder, options.slides, ROOT), store)


def announce(server: ViewServer) -> None:
    """Print the address of the page, and the line that brings it to another machine."""
    port = server.server_port
    log.info("page: %s", server.address)
    log.info(
        "from another machine: ssh -N -L %d:127.0.0.1:%d %s@%s, then the same address there",
        port,
        port,
        _user_name(),
        socket.gethostname(),
    )
    log.info("Ctrl-C ends it")


def _user_name() -> str:
    # A container may have no name for its user.
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "<user>"


if __name__ == "__main__":
    sys.argv[1:] = folder_to_flag(sys.argv[1:])
    run_stage("view", ViewOptions, main)
    # A thread may still read an image in C++, and would abort a process that Python ends.
    sys.stdout.flush()
    os._exit(0)
