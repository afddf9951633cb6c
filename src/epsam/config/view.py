"""Flags of view.py."""

from dataclasses import dataclass

from epsam.config.common import DebugOptions
from epsam.config.flags import flag


@dataclass(frozen=True)
class ViewOptions(DebugOptions):
    """Look at results in a browser: slides or images that infer.sh segmented, or patches of a
    run.
    """

    folder: str = flag(
        "", "output folder of infer.sh, or folder of a run in checkpoints/", affects_result=False
    )
    slides: tuple[str, ...] = flag(
        (),
        "folders of the slides or images, which may have moved; empty: those that the results name",
        affects_result=False,
    )
    corrections: str = flag(
        "corrections",
        "folder that corrections are written to, made by the first one; empty: the page only shows",
        affects_result=False,
    )
    port: int = flag(
        0,
        "port of the page's address on this machine; 0: any free one",
        at_least=0,
        at_most=65535,
        affects_result=False,
    )
    export: str = flag(
        "",
        "folder to write the page to, as files that open from a disk; no server is started",
        affects_result=False,
    )
    export_mb: float = flag(
        30.0,
        "size of an exported slide, or of a run's pictures, MB; of larger ones the finest levels, "
        "or some of the patches, are left out",
        at_least=1,
        affects_result=False,
    )
