"""Step 4: initial masks → preliminary SAM decoder and first pseudo-labels (paper 3.3.2)."""

from epsam.config.command_line import run_stage
from epsam.config.decoder import FinetuneOptions
from epsam.core.shards import Shard
from epsam.engine.run_leaves import settle_leaves
from epsam.engine.stage import check_predecessor
from epsam.paths import RunPaths, folder_of_whole_run
from epsam.training.round_data import is_round_finished, load_initial_examples, load_round_data


def main(options: FinetuneOptions) -> None:
    """Train SAM's decoder on the initial masks; encoder and prompt encoder stay frozen.

    Raises TrainingError if the initial masks leave nothing to learn from.
    """
    if options.shard:
        from epsam.training.encoding_shard import encode_shard

        encode_shard(options, Shard.parse(options.shard))
        return

    options = settle_leaves(options, "decoder_0")
    # Checked first, since encoding takes hours.
    check_predecessor("decoder_0", "generate_initial_masks", options)

    data = load_round_data(options)
    # Empty initial masks are left out.
    examples = load_initial_examples(RunPaths.of(options), data.train)
    if is_round_finished(0, options, data, examples):
        return

    # PyTorch takes seconds to import, and a finished stage has no use for it.
    from epsam.training.round_context import encode_positives, load_frozen_sam, prepare_rounds
    from epsam.training.rounds import DecoderRound

    sam = load_frozen_sam(options, data)
    # Once for all epochs and rounds: the frozen encoder is by far the slowest part.
    encode_positives(options, data, sam)
    context = prepare_rounds(options, data, sam)

    preliminary = DecoderRound(0, context, examples)
    if preliminary.is_current():
        return
    preliminary.begin()
    state = preliminary.fit_decoder()
    # The predicted masks that IDS accepts (paper 3.3.3) are the targets of the first round.
    summary = preliminary.write_pseudo_labels()
    preliminary.finish(state, summary)


if __name__ == "__main__":
    run_stage("finetune_decoder", FinetuneOptions, main, owns=folder_of_whole_run, is_shared=True)
