"""On paper: CAMELYON16 and 17, 1,400 slides and a million patches, on 1, 8 and 64 GPUs.

    python benchmarks/large_planning.py

Nothing is measured here. Every assumption is a constant below, with its source.
"""

N_GPUS = (1, 8, 64)

# Assumed: 80 % of the patches train, 10 % validate, half of each split has tumour.
PATCHES = {"train": 800_000, "val": 100_000, "test": 100_000}
POSITIVE = 0.5
SLIDES = 1_400

# As in planning.py, of an A100: published by others, none measured by us.
ENCODER_S = 1 / 73.2
CLASSIFIER_TRAIN_S = 7.9 / 2470
CLASSIFIER_S = CLASSIFIER_TRAIN_S / 3
MASK_S = 0.004
DECODER_TRAIN_S = 3 * MASK_S

EPOCHS_CLASSIFIER, EPOCHS_DECODER, DECODERS, TRANSFORMS, ROTATIONS = 50, 20, 4, 2, 4
CLASSIFIER_BATCH, DECODER_BATCH = 16, 4

# Assumed: 150 mm² of tissue a slide, tiles of 512 px at 0.25 µm/px, a quarter of overlap, and a
# tenth of them above the gate.
TISSUE_MM2, TILE_STEP_MM, GATE_PASSED = 150.0, 512 * 0.75 * 0.25e-3, 0.1
# Assumed: 2.5 GB a slide, 50 MB of results for one; three quarters of a byte a sample as PNG.
SLIDE_GB, RESULT_GB, PNG_FACTOR = 2.5, 0.05, 0.75

EMBEDDING_BYTES = 256 * 64 * 64 * 2
DECODER_WEIGHTS, CLASSIFIER_WEIGHTS = 4_058_340, 23_510_081
"""SAM's mask decoder, and ResNet-50 with one output; four bytes each."""


def main() -> None:
    """Print hours, disk, files and network."""
    positives = {split: int(count * POSITIVE) for split, count in PATCHES.items()}
    print_hours(positives)
    print_storage(positives)
    print_network(positives)


def count_hours(positives: dict[str, int]) -> dict[str, float]:
    """Hours of one GPU by what it computes."""
    n_encoded = positives["train"] * TRANSFORMS + positives["val"] + positives["test"]
    n_learnt = DECODERS * EPOCHS_DECODER * positives["train"]
    n_validated = DECODERS * EPOCHS_DECODER * positives["val"]
    # Pseudo-labels of every decoder, and scores of all of them and of SAM as it comes.
    n_predicted = DECODERS * positives["train"] + (DECODERS + 1) * positives["test"]
    tiles = TISSUE_MM2 / TILE_STEP_MM**2
    tile_s = ROTATIONS * CLASSIFIER_S + GATE_PASSED * (ENCODER_S + MASK_S)
    seconds = {
        "classifier, learning": EPOCHS_CLASSIFIER * PATCHES["train"] * CLASSIFIER_TRAIN_S,
        "classifier, validation": EPOCHS_CLASSIFIER * PATCHES["val"] * CLASSIFIER_S,
        "class activation maps": sum(positives.values()) * ROTATIONS * CLASSIFIER_S,
        "embeddings": n_encoded * ENCODER_S,
        "decoders, learning": n_learnt * DECODER_TRAIN_S,
        "decoders, other masks": (n_validated + n_predicted) * MASK_S,
        f"inference, {SLIDES:,} slides": SLIDES * tiles * tile_s,
    }
    return {name: value / 3600 for name, value in seconds.items()}


def print_hours(positives: dict[str, int]) -> None:
    """The work divided by the number of GPUs: what no number of them can beat."""
    print("| hours, work alone | " + " | ".join(f"{n} GPU" for n in N_GPUS) + " |")
    print("|---|" + "---:|" * len(N_GPUS))
    hours = count_hours(positives)
    for name, value in [*hours.items(), ("all", sum(hours.values()))]:
        print(f"| {name} | " + " | ".join(f"{value / n:,.1f}" for n in N_GPUS) + " |")


def print_storage(positives: dict[str, int]) -> None:
    """Disk and files, which do not depend on the number of GPUs."""
    n_positive = sum(positives.values())
    n_encoded = positives["train"] * TRANSFORMS + positives["val"] + positives["test"]
    patch_gb = 512 * 512 * 3 * PNG_FACTOR / 1e9
    rows = {
        "slides": (SLIDES * SLIDE_GB, SLIDES),
        "patches and ground truth": (
            sum(PATCHES.values()) * patch_gb,
            sum(PATCHES.values()) + n_positive,
        ),
        "embeddings": (n_encoded * EMBEDDING_BYTES / 1e9, n_encoded),
        "initial masks and pseudo-labels, 4 KB each": (
            (n_positive + DECODERS * positives["train"]) * 4096 / 1e9,
            n_positive + DECODERS * positives["train"],
        ),
        "results of slides": (SLIDES * RESULT_GB, SLIDES * 8),
    }
    print("\n| on disk | GB | files |\n|---|---:|---:|")
    for name, (size, files) in rows.items():
        print(f"| {name} | {size:,.0f} | {files:,} |")
    total = sum(size for size, _ in rows.values())
    print(f"| all | {total:,.0f} | {sum(files for _, files in rows.values()):,} |")


def print_network(positives: dict[str, int]) -> None:
    """What a step sends to each process, and what the file system has to deliver."""
    print("\n| network | " + " | ".join(f"{n} GPU" for n in N_GPUS) + " |")
    print("|---|" + "---:|" * len(N_GPUS))
    for name, weights in (("classifier", CLASSIFIER_WEIGHTS), ("decoder", DECODER_WEIGHTS)):
        cells = [f"{(n - 1) * weights * 4 / 1e6:,.0f}" for n in N_GPUS]
        print(f"| gradients that a process gets in a step of the {name}, MB | {join(cells)} |")
    rates = [n * EMBEDDING_BYTES / DECODER_TRAIN_S / 1e9 for n in N_GPUS]
    cells = [f"{rate:,.1f}" for rate in rates]
    print(f"| embeddings read while a decoder learns, GB/s | {join(cells)} |")
    patch_tb = sum(PATCHES.values()) * 512 * 512 * 3 * PNG_FACTOR / 1e12
    cells = [f"{n * patch_tb:,.1f}" for n in N_GPUS]
    print(f"| images read for a stage's fingerprint, by every process, TB | {join(cells)} |")


def join(cells: list[str]) -> str:
    """The cells of a row of a table."""
    return " | ".join(cells)


if __name__ == "__main__":
    main()
