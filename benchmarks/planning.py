"""What a run of CAMELYON17's size takes: counts, disk, hours, with the arithmetic shown, as
Markdown.

    python benchmarks/planning.py                       hours from benchmarks/results.json and from
    published figures
    python benchmarks/planning.py --embedding_transforms 8   what another number of views costs

Counts follow from the paper's numbers of patches and from the flags' defaults. Hours are counts ×
seconds each; where the seconds come from stands beside them; published ones were not measured by
us.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.config.classifier import ClassifierOptions
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.preflight.disk import FP16_BYTES, PNG_COMPRESSION
from epsam.segment.sam.models import PROMPT_DIM, SPECS
from epsam.weak.resnet import NetworkSpec, build_classifier

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Plan:
    """Patches by split, from the published settings for CAMELYON17 (paper 4.1 and Table 1)."""

    train_positives: int = 6_068
    train_negatives: int = 6_000
    val_positives: int = 700
    val_negatives: int = 700
    test_positives: int = 2_000
    test_negatives: int = 2_000
    views: int = DecoderOptions.embedding_transforms
    batch_size: int = DecoderOptions.batch_size

    @property
    def positives(self) -> int:
        return self.train_positives + self.val_positives + self.test_positives

    @property
    def patches(self) -> int:
        return self.positives + self.train_negatives + self.val_negatives + self.test_negatives


@dataclass(frozen=True)
class Count:
    """A number of things to do or to keep, and how it comes about."""

    what: str
    arithmetic: str
    number: float


def counts_of(plan: Plan) -> dict[str, Count]:
    """What a run with the defaults does, by kind."""
    decoders, epochs = 1 + RetrainOptions.n_iter, DecoderOptions.epoch
    steps = -(-plan.train_positives // plan.batch_size)
    train, classifier_epochs = plan.train_positives + plan.train_negatives, ClassifierOptions.epoch
    validation = plan.val_positives + plan.val_negatives
    rotations = MaskOptions.rotations
    asked = (
        decoders * epochs * plan.val_positives,
        decoders * plan.train_positives,
        (decoders + 1) * plan.positives,
    )
    return {
        "encoder": Count(
            "encoder passes",
            f"{plan.train_positives:,} × {plan.views} views + {plan.val_positives:,} "
            f"+ {plan.test_positives:,}",
            plan.train_positives * plan.views + plan.val_positives + plan.test_positives,
        ),
        "encoder_in_loop": Count(
            "the same without the cache",
            f"{decoders} decoders × {epochs} epochs × "
            f"({plan.train_positives:,} + {plan.val_positives:,})",
            decoders * epochs * (plan.train_positives + plan.val_positives),
        ),
        "step": Count(
            "decoder steps, at most",
            f"{decoders} × {epochs} × ⌈{plan.train_positives:,} / {plan.batch_size}⌉",
            decoders * epochs * steps,
        ),
        "decoded": Count(
            "masks decoded without learning",
            f"validation {asked[0]:,} + pseudo-labels {asked[1]:,} + scores {asked[2]:,}",
            sum(asked),
        ),
        "classified": Count(
            "classifier images learnt from",
            f"{classifier_epochs} epochs × {train:,}",
            classifier_epochs * train,
        ),
        "validated": Count(
            "classifier images only looked at",
            f"{classifier_epochs} × {validation:,}",
            classifier_epochs * validation,
        ),
        "maps": Count(
            "activation maps",
            f"{plan.positives:,} positives, {rotations} rotations each",
            plan.positives,
        ),
    }


def disk_of(plan: Plan) -> list[Count]:
    """What lies on the disk at the end, in GB."""
    spec, side = SPECS["vit_b"], PatchOptions.patch_size
    each = PROMPT_DIM * spec.grid**2 * FP16_BYTES
    encoded = counts_of(plan)["encoder"].number
    return [
        Count(
            "embeddings, GB",
            f"{encoded:,.0f} × {PROMPT_DIM} × {spec.grid} × {spec.grid} × {FP16_BYTES} bytes",
            encoded * each / 1e9,
        ),
        Count(
            "patches, GB",
            f"{plan.patches:,} × {side} × {side} × 3 bytes × {PNG_COMPRESSION} as PNG, on the safe side",
            plan.patches * side**2 * 3 * PNG_COMPRESSION / 1e9,
        ),
    ]


# Seconds
# ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Seconds of one of each kind on the machine planned for, and where they come from."""

    title: str
    seconds: Mapping[str, float]
    sources: tuple[str, ...]


def measured_costs(device: str) -> Costs | None:
    """From what run.py kept for a device, or None if a part was not measured there."""
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    names = ("encoder", "cached_step", "classifier_step", "activation_maps")
    if any(f"{name}, {device}" not in kept for name in names):
        return None
    own = {name: kept[f"{name}, {device}"] for name in names}
    value = {name: result["ours_value"] for name, result in own.items()}
    machine = own["encoder"]["machine"]
    step = value["cached_step"]
    return Costs(
        f"measured by run.py: {machine.get('gpu', machine['cpu'])}",
        {
            "encoder": value["encoder"],
            "step": step,
            "decoded": step / DecoderOptions.batch_size,
            "classified": value["classifier_step"],
            "validated": value["classifier_step"],
            "maps": value["activation_maps"],
        },
        (
            "a mask decoded, or an image looked at, without learning is counted like one learnt from, which is too much",
        ),
    )


def published_costs(slower: float) -> Costs:
    """From figures that others published for ViT-B, SAM's decoder and ResNet50; none of them
    measured by us.

    slower: factor from the A100 of two of them to the card planned for.
    """
    decoded, learnt = 0.004, 3.0
    size = PatchOptions.patch_size
    classifier = multiply_adds(NetworkSpec(), size) / multiply_adds(NetworkSpec(), 224, stock=True)
    image = classifier / 2470 * slower
    step = DecoderOptions.batch_size * decoded * learnt
    return Costs(
        "by published figures, not measured by us",
        {
            "encoder": slower / 73.2,
            "step": step,
            "decoded": decoded,
            "classified": image,
            "validated": image / learnt,
            "maps": MaskOptions.rotations * image / learnt,
        },
        (
            "encoder: 73.2 images/s, ViT-B and its decoder with bf16, fused attention and torch.compile, 8 at a time, on "
            "an A100 (pytorch-labs/segment-anything-fast, experiments/results_bs8.csv)",
            f"decoder: 4 ms a mask on a single GPU that is not named (MobileSAM's README, of SAM's own decoder); "
            f"× {learnt:g} for forward and backward pass is an assumption, here and below",
            "classifier: 2,470 images/s of 224 px, ResNet50 training in mixed precision on an A100 (NVIDIA "
            f"DeepLearningExamples); ours is {classifier:.1f} times the multiplications: 512 px, layer 4 without stride",
            f"encoder and classifier × {slower:g} for a 12 GB card: 312 TFLOPS of bf16 (A100, NVIDIA) against 25.5 (RTX "
            "3060 12 GB: 112 tensor cores × 128 operations × 1.78 GHz); of the memory's rates it would be × 4.3",
            f"if the decoder's GPU was an A100, its rows take × {slower:g}, too",
        ),
    )


def multiply_adds(spec: NetworkSpec, side: int, stock: bool = False) -> float:
    """Multiplications of one image in the classifier's convolutions, in G; `stock`: with
    torchvision's strides.
    """
    with torch.device("meta"):
        model = build_classifier(spec)
    if stock:
        for name in ("conv2", "downsample.0"):
            model.layer4[0].get_submodule(name).stride = (2, 2)
    total = [0.0]

    def count(module: torch.nn.Conv2d, _: object, made: torch.Tensor) -> None:
        total[0] += made[0].numel() * module.weight[0].numel() / 1e9

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    features = model.conv1(torch.empty(1, model.conv1.in_channels, side, side, device="meta"))
    features = model.maxpool(features)
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in layer:
            if any(isinstance(part, torch.nn.Conv2d) for part in block.modules()):
                features = block(features)
    return total[0]


# Tables
# -------------------------------------------------------------------------------------------------------------


def lines_of(plan: Plan, costs: list[Costs]) -> Iterator[str]:
    """The Markdown text."""
    counts = counts_of(plan)
    yield from ("| what | arithmetic | number |", "|---|---|---:|")
    for count in counts.values():
        yield f"| {count.what} | {count.arithmetic} | {count.number:,.0f} |"
    for count in disk_of(plan):
        yield f"| {count.what} | {count.arithmetic} | {count.number:.1f} |"
    for cost in costs:
        yield from (
            "",
            f"Hours, {cost.title}:",
            "",
            "| what | number | seconds each | hours |",
            "|---|---:|---:|---:|",
        )
        total = 0.0
        for name, seconds in cost.seconds.items():
            hours = counts[name].number * seconds / 3600
            total += hours
            yield (
                f"| {counts[name].what} | {counts[name].number:,.0f} | {seconds:.3g} | "
                f"{hours:.2f} |"
            )
        yield f"| all | | | {total:.1f} |"
        yield from ("", *(f"* {source}" for source in cost.sources))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--embedding_transforms", type=int, default=Plan.views, choices=(1, 2, 4, 8)
    )
    parser.add_argument(
        "--slower", type=float, default=12.2, help="factor from an A100 to a 12 GB card"
    )
    given = parser.parse_args()
    measured = [found for device in ("cpu", "cuda") if (found := measured_costs(device))]
    print(
        "\n".join(
            lines_of(
                Plan(views=given.embedding_transforms), [*measured, published_costs(given.slower)]
            )
        )
    )


if __name__ == "__main__":
    main()
