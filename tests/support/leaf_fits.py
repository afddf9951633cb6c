"""Three steps of training on random patches, one of them with fewer patches: in one process or in
several, plain or in leaves.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import distributed

from epsam.core.distributed import current_world
from epsam.core.leaves import BatchCut
from epsam.core.seeding import generator
from epsam.data.augmentation import augment, draw_augmentation
from epsam.engine.leaf_step import LeafBatch, leaf_step
from epsam.engine.task import Task
from epsam.segment.sam.losses import decoder_loss
from epsam.segment.sam.models import build_sam, freeze
from epsam.weak.resnet import NetworkSpec, build_classifier
from support.mini import smaller_sam

BATCH_SIZES = (8, 5, 2)


@dataclass
class Samples:
    inputs: torch.Tensor
    targets: torch.Tensor
    names: list


def classifier_network():
    torch.manual_seed(3)
    return build_classifier(NetworkSpec(backbone="resnet18"))


def classifier_samples(n_patches, step):
    random = torch.Generator().manual_seed(step)
    images = torch.rand(n_patches, 3, 32, 32, generator=random)
    labels = (torch.arange(n_patches) < 2).float()
    return Samples(images, labels, [f"{step}-{number}" for number in range(n_patches)])


def classifier_loss(model):
    def loss(samples, epoch):
        augmentations = [draw_augmentation(generator(1, name)) for name in samples.names]
        images = augment(samples.inputs.float(), augmentations).to(samples.inputs)
        return model.loss(images, samples.targets.to(images))

    return loss


def decoder_network():
    torch.manual_seed(3)
    with smaller_sam(64):
        return freeze(build_sam("vit_demo"))


def decoder_samples(n_patches, step):
    """Embeddings with two points each; the first patch alone has a tumour."""
    random = torch.Generator().manual_seed(step)
    embeddings = torch.rand(n_patches, 256, 8, 8, generator=random)
    targets = torch.zeros(n_patches, 32, 32)
    targets[0, 5:18, 8:23] = 1
    return Samples(embeddings, targets, [f"{step}-{number}" for number in range(n_patches)])


def decoder_loss_of(model):
    def loss(samples, epoch):
        n_patches = len(samples.names)
        points = torch.tensor([[[10.0, 15.0], [50.0, 22.0]]])
        labels = torch.ones(1, 2, dtype=torch.long)
        # SAM's prompt encoder computes in float32 alone; the decoder may be in float64.
        sparse, dense = model.prompt_encoder(points=(points, labels), boxes=None, masks=None)
        kind = next(model.mask_decoder.parameters()).dtype
        logits, _ = model.mask_decoder(
            image_embeddings=samples.inputs.to(kind),
            image_pe=model.prompt_encoder.get_dense_pe().to(kind),
            sparse_prompt_embeddings=sparse.to(kind).expand(n_patches, -1, -1),
            dense_prompt_embeddings=dense.to(kind).expand(n_patches, -1, -1, -1),
            multimask_output=False,
        )
        return decoder_loss(logits[:, 0], samples.targets.to(kind))

    return loss


def classifier_parts():
    model = classifier_network()
    return model, classifier_samples, classifier_loss(model)


def decoder_parts():
    sam = decoder_network()
    return sam.mask_decoder, decoder_samples, decoder_loss_of(sam)


PARTS = {"classifier": classifier_parts, "decoder": decoder_parts}


def leaf_batch(samples, cut):
    leaves = []
    for leaf in cut.computed_leaves:
        at = list(cut.positions(leaf))
        names = [samples.names[position] for position in at]
        leaves.append(Samples(samples.inputs[at], samples.targets[at], names))
    return LeafBatch(cut, leaves)


def build_task(kind, double=False):
    trained, make_samples, loss = PARTS[kind]()
    if double:
        trained.double()
    trained.train()
    optimiser = torch.optim.Adam(trained.parameters(), lr=1e-3)
    return Task(kind, 5, trained, optimiser, None, loss, dict, 3), make_samples


def fit_in_leaves(kind, leaves):
    """{name of a weight or buffer: its SHA-256} and the losses, after three steps."""
    torch.manual_seed(0)
    task, make_samples = build_task(kind)
    losses = []
    for step, n_patches in enumerate(BATCH_SIZES):
        torch.manual_seed(step)
        cut = BatchCut(n_patches, leaves, current_world())
        losses.append(leaf_step(task, leaf_batch(make_samples(n_patches, step), cut), 0))
    return hashes(task.model), losses


def fit_everything():
    """All that a number of processes is compared by: kind → weights, buffers and losses."""
    results = {kind: fit_in_leaves(kind, 4) for kind in PARTS}
    return {
        **results,
        "plain sums": fit_with_sums_of_processes("decoder"),
        "overflow": fit_with_overflow(),
    }


def fit_with_overflow():
    """The weights after each of three steps, and the scale of the loss: the gradients of the last
    patch of the second batch, which one process has, are beyond float32.
    """
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)

    def loss(samples, epoch):
        factors = torch.tensor([1e36 if name == "1-4" else 1.0 for name in samples.names])
        return model(samples.inputs)[:, 0] ** 2 * factors

    task = Task("overflow", 5, model, optimiser, None, loss, dict, 3, scaler)
    weights = []
    for step, n_patches in enumerate(BATCH_SIZES):
        inputs = torch.ones(n_patches, 3)
        names = [f"{step}-{number}" for number in range(n_patches)]
        samples = Samples(inputs, torch.zeros(n_patches), names)
        leaf_step(task, leaf_batch(samples, BatchCut(n_patches, 4, current_world())), 0)
        weights.append(hashes(model))
    return weights, scaler.get_scale()


def fit_with_sums_of_processes(kind):
    """What most programs do: each process takes every n-th patch, and gradients are reduced."""
    task, make_samples = build_task(kind)
    world = current_world()
    for step, n_patches in enumerate(BATCH_SIZES):
        torch.manual_seed(step)
        samples = make_samples(n_patches, step)
        at = list(range(world.rank, n_patches, world.size))
        part = Samples(samples.inputs[at], samples.targets[at], [samples.names[i] for i in at])
        task.optimiser.zero_grad()
        (task.loss(part, 0).sum() / n_patches).backward()
        for parameter in task.model.parameters():
            if parameter.grad is not None and world.size > 1:
                distributed.all_reduce(parameter.grad)
        task.optimiser.step()
    return hashes(task.model)


def hashes(model):
    return {name: sha256(tensor) for name, tensor in model.state_dict().items()}


def sha256(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def plain_gradients(kind, n_patches):
    task, make_samples = build_task(kind, double=True)
    torch.manual_seed(9)
    task.loss(in_double(make_samples(n_patches, 0)), 0).mean().backward()
    return named_gradients(task.model)


def leaf_gradients(kind, n_patches, leaves):
    task, make_samples = build_task(kind, double=True)
    # The gradients stay, and the weights do not move.
    task.optimiser = torch.optim.SGD(task.model.parameters(), lr=0.0)
    torch.manual_seed(9)
    cut = BatchCut(n_patches, leaves, current_world())
    leaf_step(task, leaf_batch(in_double(make_samples(n_patches, 0)), cut), 0)
    return named_gradients(task.model)


def in_double(samples):
    return Samples(samples.inputs.double(), samples.targets.double(), samples.names)


def named_gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
