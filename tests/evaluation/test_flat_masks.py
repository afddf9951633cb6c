from epsam.evaluation.flat_masks import describe_flat_predictors
from epsam.evaluation.image_scores import PatchScore
from epsam.evaluation.score_run import SplitScores
from epsam.metrics import PixelCounts
from epsam.tables import ALL_FILLED, FILL, INITIAL


def test_a_predictor_that_tells_no_pixel_from_another_is_named():
    def scores_of(predictor, *predicted, split="test"):
        patches = []
        for number, count in enumerate(predicted):
            patches.append(PatchScore(str(number), PixelCounts(min(count, 30), count, 30)))
        return SplitScores(split, predictor, patches)

    scores = [scores_of(FILL, 64, 64), scores_of(ALL_FILLED, 64, 64)]
    scores += [scores_of(INITIAL, 64, 63), scores_of("unet", 64, 64), scores_of("round 1", 0, 0)]
    scores += [scores_of(FILL, 64, split="val"), scores_of("unet", 1, split="val")]
    assert describe_flat_predictors(scores) == [
        "unet marks all of every patch with tumour of test",
        "round 1 marks nothing in any patch with tumour of test",
    ]
