"""Step 4: initial masks → preliminary SAM decoder and first pseudo-labels (paper 3.3.2)."""

from epsam.config.command_line import run_stage
from epsam.config.decoder import DecoderOptions
from epsam.engine.stage import check_predecessor
from epsam.paths import run_folder
from epsam.training.pseudo_labels import load_initial_examples
from epsam.training.rounds import prepare_rounds, run_round


def main(options: DecoderOptions) -> None:
    """Fit SAM's decoder to the initial masks; encoder and prompt encoder stay as they are.

    Raises TrainingError if the initial masks leave nothing to learn from.
    """
    # Encoding comes next, and takes hours.
    check_predecessor("decoder_0", "generate_initial_masks", options)
    bench = prepare_rounds(options)
    run_round(0, bench, load_initial_examples(bench.run, bench.train))


if __name__ == "__main__":
    run_stage("finetune_decoder", DecoderOptions, main, owns=run_folder)
