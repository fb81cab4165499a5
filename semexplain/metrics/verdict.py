"""What the numbers of a verdict are called and mean; the verdict itself is made in `semexplain.judgement`."""

from semexplain.metrics.measure import Measure

PREFIX, FAITHFUL = "test/verdict", "test/faithful"
CONTROL = "test/control"  # /<name>/<measure>: of explainers that were trained on a control
ENDS = ("", "_low", "_high")  # of the names of a number and the ends of its 95 % interval
FAITHFUL_AS = {"FAITHFUL": 1.0, "NOT FAITHFUL": 0.0, "NOT SHOWN": 0.5}
_DEVIATION = "Relative deviation of the same explainer, trained {}, without prior, mean of three seeds: the control."


def _interval(key: str, label: str, meaning: str, **words: str) -> tuple[Measure, ...]:
    """A number and the ends of its interval."""
    number = Measure(f"verdict/{key}", label, **words).means(meaning)  # type: ignore[arg-type]
    ends = {"low": "Lower", "high": "Upper"}
    return (
        number,
        *(
            Measure(f"verdict/{key}_{end}", f"{label}, {word.lower()} end", **words).means(  # type: ignore[arg-type]
                f"{word} end of its 95 % interval: a paired bootstrap over images and seeds."
            )
            for end, word in ends.items()
        ),
    )


VERDICT = (
    Measure("faithful", unit="0, 0.5 or 1", better="higher", column="faithful").means(
        "1 if all four statements of the verdict hold, 0 if one fails, 0.5 if it could not be shown."
    ),
    *_interval("deviation", "deviation, judged", "Mean distance of prediction and score as a share of their range."),
    *_interval(
        "best_deviation",
        "deviation of the best predictor",
        "The same for the best predictor of the score from the concepts' strengths alone, cross-fitted.",
    ),
    *_interval(
        "below_best",
        "below the best predictor",
        "1 minus the ratio of these two: what of the deviation was saved through the weights, not the concepts.",
    ),
    *_interval(
        "slope", "slope of the score", "Slope of the scores over the sums of contributions: 1 where they add up."
    ),
    *_interval(
        "own_agreement",
        "agreement with own effects",
        "Correlation over images of contributions with the effects of taking the same concept away, apart from what "
        "the score tells, all concepts together.",
        unit="correlation",
    ),
    *_interval(
        "swapped_agreement",
        "agreement with others' effects",
        "The same with the effects of other concepts: the swap test.",
        unit="correlation",
    ),
    *_interval(
        "near_agreement",
        "agreement of what sets images apart",
        "Correlation of contributions with effects, both as differences to the image nearest in concept space.",
        unit="correlation",
    ),
    *_interval(
        "size",
        "size of contributions",
        "Slope of the effects over the contributions: 1 where they have the same size.",
        unit="ratio",
    ),
    *_interval(
        "between_agreement",
        "agreement with what lies between",
        "Correlation, apart from the score, of contributions with the nearest values between the two kinds of effects.",
        unit="correlation",
    ),
    *_interval(
        "altogether_agreement",
        "agreement altogether",
        "Correlation of contributions with effects over all images and concepts, no mean taken away.",
        unit="correlation",
    ),
    *_interval(
        "share_agreement",
        "agreement of shares",
        "Correlation over an image's concepts of contributions and effects, mean over the images.",
        unit="correlation",
    ),
    *_interval(
        "above_random_shares",
        "above random shares",
        "By how much that is above random shares that add up.",
        unit="correlation",
    ),
    *_interval(
        "above_mean_explanation",
        "above the mean explanation",
        "By how much that is above the effects that other images of this score have on average, concepts measured from "
        "their means.",
        unit="correlation",
    ),
    *_interval(
        "agreement_without_activation",
        "agreement without activation",
        "The agreement of shares once what is in proportion to the concepts' strengths is taken out of both.",
        unit="correlation",
    ),
    *_interval(
        "above_redrawn_head",
        "above redrawn heads",
        "By how much that is above the agreement with the effects on networks whose head is redrawn.",
        unit="correlation",
    ),
    Measure("control/constant/relative_deviation", "relative deviation with constant concepts").means(
        _DEVIATION.format("with the strength 1 for every concept of every image")
    ),
    Measure("control/shuffled/relative_deviation", "relative deviation with shuffled concepts").means(
        _DEVIATION.format("with the concepts of another image of the batch")
    ),
    Measure("control/redrawn/relative_deviation", "relative deviation of a re-drawn performer").means(
        _DEVIATION.format("on a performer whose layers above the feature map have random weights")
    ),
    Measure("control/*/relative_deviation_std", "spread of the control's deviation ({})").means(
        "Standard deviation of the control's relative deviation over three seeds."
    ),
    Measure("control/*/explainer_accuracy_tau_train_std", "spread of the control's accuracy ({})").means(
        "Standard deviation of the control's accuracy over three seeds."
    ),
    Measure("control/*/explainer_accuracy_tau_train", "accuracy of the control ({})").means(
        "Share of images on which the control's prediction > τ agrees with the label, with the τ that is best on the "
        "training images."
    ),
)
