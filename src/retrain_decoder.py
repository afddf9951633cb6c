"""Step 5: pseudo-labels → fresh decoder → pseudo-labels, for n_iter rounds (paper 3.3.3, Algorithm
1).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from epsam.config.command_line import run_stage
from epsam.config.decoder import RetrainOptions
from epsam.core.distributed import is_main_process
from epsam.data.patches import Patch
from epsam.engine.run_leaves import settle_leaves
from epsam.engine.stage import check_predecessor
from epsam.paths import RunPaths, run_folder
from epsam.training.corrected_targets import (
    has_initial_masks,
    load_round_examples,
    write_corrected_targets,
)
from epsam.training.delete_rounds import delete_surplus_rounds, require_replaceable_rounds
from epsam.training.round_data import (
    RoundData,
    is_round_finished,
    load_round_data,
)

if TYPE_CHECKING:
    from epsam.training.round_context import RoundContext


def main(options: RetrainOptions) -> None:
    """In each round, train a fresh decoder on the accepted pseudo-labels of the round before it.

    Raises TrainingError if the round before left nothing to learn from.
    """
    options = settle_leaves(options, "decoder_1")
    # Checked first, since encoding takes hours.
    require_replaceable_rounds(options)
    check_predecessor("decoder_1", "decoder_0", options)

    data, run = load_round_data(options), RunPaths.of(options)
    corrections = write_corrected_targets(options, data)
    # Their initial masks tell which of them can be prompted, and are learnt from.
    is_prepared = has_initial_masks(run, corrections.further)
    context = None if is_prepared else load_context(options, data, corrections.further)
    for number in range(1, options.n_iter + 1):
        check_predecessor(f"decoder_{number}", f"decoder_{number - 1}", options)
        examples = load_round_examples(number, options, data.train, corrections)
        if is_round_finished(number, options, data, examples):
            continue

        # PyTorch takes seconds to import, and a finished stage has no use for it.
        from epsam.training.rounds import DecoderRound

        if context is None:
            context = load_context(options, data, corrections.further)
            examples = load_round_examples(number, options, data.train, corrections)
        decoder_round = DecoderRound(number, context, examples)
        if decoder_round.is_current():
            continue
        decoder_round.begin()
        state = decoder_round.fit_decoder()
        summary = decoder_round.write_pseudo_labels()
        decoder_round.finish(state, summary)

    # A run may have had more rounds before, and inference takes the last decoder that exists.
    if is_main_process():
        delete_surplus_rounds(run, options.n_iter)


def load_context(
    options: RetrainOptions, data: RoundData, corrected: Sequence[Patch]
) -> "RoundContext":
    """SAM, the embeddings of all positives and of `corrected` patches beside them, and the prompts
    of validation, for all rounds.
    """
    from epsam.training.round_context import encode_positives, load_frozen_sam, prepare_rounds

    sam = load_frozen_sam(options, data)
    encode_positives(options, data, sam)
    return prepare_rounds(options, data, sam, corrected)


if __name__ == "__main__":
    run_stage("retrain_decoder", RetrainOptions, main, owns=run_folder, is_shared=True)
