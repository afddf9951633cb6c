"""Step 4: initial masks → preliminary SAM decoder and first pseudo-labels (paper 3.3.2)."""

from command_line import run_stage
from epsam.options import DecoderOptions
from epsam.paths import run_folder
from epsam.training.pseudo_labels import initial_examples
from epsam.training.rounds import open_bench, run_round


def main(options: DecoderOptions) -> None:
    """Fit SAM's decoder to the initial masks; encoder and prompt encoder stay as they are."""
    bench = open_bench(options)
    run_round(0, bench, initial_examples(bench.run, bench.train))


if __name__ == "__main__":
    run_stage("finetune_decoder", DecoderOptions, main, owns=run_folder)
