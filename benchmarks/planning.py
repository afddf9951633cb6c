"""What a run of CAMELYON17's size takes, as Markdown: counts, disk, hours, and the arithmetic.

    python benchmarks/planning.py
    python benchmarks/planning.py --embedding_transforms 8

Counts follow from the paper's numbers of patches and from the flags' defaults. Hours are counts ×
seconds each, from benchmarks/results.json where it holds them and from published measurements that
are not ours; the source stands beside them.
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
from epsam.preflight.disk import PNG_COMPRESSION
from epsam.segment.sam.specs import FP16_BYTES, PROMPT_DIM, SPECS
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
    transforms: int = DecoderOptions.embedding_transforms
    batch_size: int = DecoderOptions.batch_size

    @property
    def positives(self) -> int:
        return self.train_positives + self.val_positives + self.test_positives

    @property
    def patches(self) -> int:
        return self.positives + self.train_negatives + self.val_negatives + self.test_negatives


@dataclass(frozen=True)
class Count:
    """A number of operations, or of GB on the disk, and how it comes about."""

    name: str
    arithmetic: str
    number: float


def count_work(plan: Plan) -> dict[str, Count]:
    """What a run with the defaults does, by kind."""
    decoders, epochs = 1 + RetrainOptions.n_iter, DecoderOptions.epoch
    counts = {
        "encoder": Count(
            "encoder passes",
            f"{plan.train_positives:,} × {plan.transforms} transforms + {plan.val_positives:,} "
            f"+ {plan.test_positives:,}",
            plan.train_positives * plan.transforms + plan.val_positives + plan.test_positives,
        ),
        "encoder_in_loop": Count(
            "the same without the cache",
            f"{decoders} decoders × {epochs} epochs × "
            f"({plan.train_positives:,} + {plan.val_positives:,})",
            decoders * epochs * (plan.train_positives + plan.val_positives),
        ),
    }
    return counts | _count_decoder(plan, decoders, epochs) | _count_classifier(plan)


def _count_decoder(plan: Plan, decoders: int, epochs: int) -> dict[str, Count]:
    steps = -(-plan.train_positives // plan.batch_size)
    validation = decoders * epochs * plan.val_positives
    pseudo_labels = decoders * plan.train_positives
    # Every decoder and zero-shot SAM is scored on all positives.
    scores = (decoders + 1) * plan.positives
    return {
        "step": Count(
            "decoder steps, at most",
            f"{decoders} × {epochs} × ⌈{plan.train_positives:,} / {plan.batch_size}⌉",
            decoders * epochs * steps,
        ),
        "decoded": Count(
            "masks decoded without learning",
            f"validation {validation:,} + pseudo-labels {pseudo_labels:,} + scores {scores:,}",
            validation + pseudo_labels + scores,
        ),
    }


def _count_classifier(plan: Plan) -> dict[str, Count]:
    epochs = ClassifierOptions.epoch
    train = plan.train_positives + plan.train_negatives
    validation = plan.val_positives + plan.val_negatives
    return {
        "classified": Count(
            "classifier images learnt from", f"{epochs} epochs × {train:,}", epochs * train
        ),
        "validated": Count(
            "classifier images of validation", f"{epochs} × {validation:,}", epochs * validation
        ),
        "maps": Count(
            "class activation maps",
            f"{plan.positives:,} positives, {MaskOptions.rotations} rotations each",
            plan.positives,
        ),
    }


def estimate_disk(plan: Plan) -> list[Count]:
    """What lies on the disk at the end, in GB."""
    grid, side = SPECS["vit_b"].grid, PatchOptions.patch_size
    embedding_bytes = PROMPT_DIM * grid**2 * FP16_BYTES
    n_embeddings = count_work(plan)["encoder"].number
    patches_bytes = plan.patches * side**2 * 3 * PNG_COMPRESSION
    return [
        Count(
            "embeddings, GB",
            f"{n_embeddings:,.0f} × {PROMPT_DIM} × {grid} × {grid} × {FP16_BYTES} bytes",
            n_embeddings * embedding_bytes / 1e9,
        ),
        Count(
            "patches, GB",
            f"{plan.patches:,} × {side} × {side} × 3 bytes × {PNG_COMPRESSION} as PNG, "
            "on the safe side",
            patches_bytes / 1e9,
        ),
    ]


@dataclass(frozen=True)
class Costs:
    """Seconds each for every kind of operation on the machine planned for, and their sources."""

    title: str
    seconds: Mapping[str, float]
    sources: tuple[str, ...]


def measured_costs(device: str) -> Costs | None:
    """From the results that run.py stored for a device, or None if a part was not measured
    there.
    """
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    value = {}
    for name in ("encoder", "cached_step", "classifier_step", "activation_maps"):
        key = f"{name}, {device}"
        if key not in results:
            return None
        value[name] = results[key]["ours_value"]
    machine = results[f"encoder, {device}"]["machine"]
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
            "a mask decoded, or an image classified, without learning is counted like one learnt "
            "from, which is too much",
        ),
    )


def published_costs(slower: float) -> Costs:
    """From measurements that others published for ViT-B, SAM's decoder and ResNet50; none of them
    measured by us.

    slower: factor from the A100 of two of them to the card planned for.
    """
    # Seconds to decode a mask, and the factor from a forward pass to a training step.
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
            "encoder: 73.2 images/s, ViT-B and its decoder with bf16, fused attention and "
            "torch.compile, 8 at a time, on an A100 (pytorch-labs/segment-anything-fast, "
            "experiments/results_bs8.csv)",
            "decoder: 4 ms a mask on a single GPU that is not named (MobileSAM's README, of SAM's "
            f"own decoder); × {learnt:g} for forward and backward pass is an assumption, here and "
            "below",
            "classifier: 2,470 images/s of 224 px, ResNet50 training in mixed precision on an A100 "
            f"(NVIDIA DeepLearningExamples); ours is {classifier:.1f} times the multiplications: "
            "512 px, layer 4 without stride",
            f"encoder and classifier × {slower:g} for a 12 GB card: 312 TFLOPS of bf16 (A100, "
            "NVIDIA) against 25.5 (RTX 3060 12 GB: 112 tensor cores × 128 operations × 1.78 GHz); "
            "of the memory's rates it would be × 4.3",
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

    def count(module: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        total[0] += output[0].numel() * module.weight[0].numel() / 1e9

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
# --------------------------------------------------------------------------------------------------


def format_plan(plan: Plan, costs: list[Costs]) -> Iterator[str]:
    """The Markdown text."""
    counts = count_work(plan)
    yield from ("| what | arithmetic | number |", "|---|---|---:|")
    for count in counts.values():
        yield f"| {count.name} | {count.arithmetic} | {count.number:,.0f} |"
    for count in estimate_disk(plan):
        yield f"| {count.name} | {count.arithmetic} | {count.number:.1f} |"
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
                f"| {counts[name].name} | {counts[name].number:,.0f} | {seconds:.3g} | "
                f"{hours:.2f} |"
            )
        yield f"| all | | | {total:.1f} |"
        yield from ("", *(f"* {source}" for source in cost.sources))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--embedding_transforms", type=int, default=Plan.transforms, choices=(1, 2, 4, 8)
    )
    parser.add_argument(
        "--slower", type=float, default=12.2, help="factor from an A100 to a 12 GB card"
    )
    options = parser.parse_args()
    costs = [measured_costs("cpu"), measured_costs("cuda"), published_costs(options.slower)]
    plan = Plan(transforms=options.embedding_transforms)
    for line in format_plan(plan, [cost for cost in costs if cost]):
        print(line)


if __name__ == "__main__":
    main()
