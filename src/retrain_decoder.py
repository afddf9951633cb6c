"""Step 5: pseudo-labels → fresh decoder → pseudo-labels, for n_iter rounds (paper 3.3.3, Algorithm
1).
"""

from epsam.config.command_line import run_stage
from epsam.config.decoder import RetrainOptions
from epsam.engine.stage import check_predecessor
from epsam.paths import run_folder
from epsam.training.delete_rounds import delete_rounds_after
from epsam.training.pseudo_labels import load_accepted_examples
from epsam.training.rounds import prepare_rounds, run_round


def main(options: RetrainOptions) -> None:
    """Fit a fresh decoder in each round to the labels that the round before it kept.

    Raises TrainingError if that one left nothing to learn from.
    """
    # Encoding comes next, and takes hours.
    check_predecessor("decoder_1", "decoder_0", options)
    bench = prepare_rounds(options)
    for number in range(1, options.n_iter + 1):
        check_predecessor(f"decoder_{number}", f"decoder_{number - 1}", options)
        examples = load_accepted_examples(
            number, bench.run, bench.train, options.pl_mode, options.soft_targets
        )
        run_round(number, bench, examples)
    # Of a run that once had more rounds: inference takes the last decoder that there is.
    delete_rounds_after(bench.run, options.n_iter)


if __name__ == "__main__":
    run_stage("retrain_decoder", RetrainOptions, main, owns=run_folder)
