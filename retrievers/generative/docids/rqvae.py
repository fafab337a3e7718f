"""Docids from a residual-quantised autoencoder with Sinkhorn on the last level (LC-Rec, arXiv 2311.09049).

Written from the method's description (methods/generative.md §9). Different from LC-Rec's run: sizes and epochs
fit a CPU, and vectors are scaled by one factor to unit variance on average, so that the reconstruction error
has the same weight for unit-length sentence vectors as for LLaMA's long ones.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.errors import InputError
from seekbench.progress import Progress
from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Floats, Ints
from seekbench.retrievers.generative.docids.kmeans import BLOCK, gather, kmeans, sample_of, single_thread
from seekbench.retrievers.generative.docids.sequences import Docids, group, with_digits

if TYPE_CHECKING:
    import torch


#: float64 numbers of an assignment that are in memory at once.
_ASSIGNED = 1 << 21


class RQVAEParams(protocol.Params):
    """Fields of `rqvae`; LC-Rec's values in brackets."""

    levels: int = Field(4, ge=1, le=16, description="codes of a docid [4]")
    codes: int = Field(64, ge=2, le=65_536, description="codes of each level [256]")
    hidden: tuple[int, ...] = Field(
        (256, 128),
        description="widths of the encoder, mirrored by the decoder [2048, 1024, 512, 256, 128, 64]",
    )
    latent: int = Field(32, ge=1, description="width of what is quantised [32]")
    epochs: int = Field(100, ge=1, description="passes over the documents [10000]")
    batch: int = Field(1024, ge=1, description="documents of a step [1024]")
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW, falling linearly to 0 [1e-3]")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW [1e-4]")
    commitment: float = Field(0.25, ge=0, description="weight of the encoder's pull to its codes [0.25]")
    quantisation: float = Field(1.0, ge=0, description="weight of the quantiser's loss [1.0]")
    sinkhorn: float = Field(
        0.003, ge=0, description="entropy of the last level's assignment; 0 for none [0.003]"
    )
    sinkhorn_iterations: int = Field(50, ge=1, description="[50]")
    rounds: int = Field(20, ge=0, description="attempts to divide documents of equal codes by Sinkhorn [20]")
    select_every: int = Field(
        10, ge=1, description="epochs between looks at the collisions; the epoch with the fewest is kept"
    )
    collisions: Literal["leave", "digit"] = Field(
        "leave", description="let what still collides share a docid [so], or count it in a last digit"
    )
    scale: bool = Field(True, description="scale all vectors by one factor to unit mean variance [false]")
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="where it is trained; on cpu it runs on one thread, and is the same each time"
    )
    seed: int = Field(0, ge=0)


def sinkhorn(distances: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """Assignment of a batch that uses all codes alike: float64 [batch, codes], columns sum to batch / codes,
    rows to 1 as nearly as the iterations bring them (with LC-Rec's values, to about 0.8 to 1.2).

    distances: [..., batch, codes], squared; each matrix is a batch of its own. They are first spread over [-1, 1],
    without which exp(-d / epsilon) leaves even float64's range; then rows and columns are scaled in turn
    (Cuturi 2013).
    """
    import torch

    distances = distances.double()
    low, high = distances.amin((-2, -1), keepdim=True), distances.amax((-2, -1), keepdim=True)
    half = (high - low) / 2
    # All distances equal: any assignment is as good, and there is nothing to divide by.
    centred = (distances - (high + low) / 2) / torch.where(half > 0, half, 1.0)
    mass = torch.exp(-centred / epsilon)
    batch, codes = mass.shape[-2:]
    mass = mass / mass.sum((-2, -1), keepdim=True)
    for _ in range(iterations):
        mass = mass / mass.sum(dim=-1, keepdim=True) / batch
        mass = mass / mass.sum(dim=-2, keepdim=True) / codes
    return mass * batch


def _model(dim: int, params: RQVAEParams, generator: np.random.Generator) -> Any:
    import torch

    # torch leaves it without types.
    skip_init: Any = torch.nn.utils.skip_init

    def perceptron(widths: list[int]) -> torch.nn.Sequential:
        layers: list[torch.nn.Module] = []
        for inner, outer in pairwise(widths):
            # Our own random numbers: drawing torch's global ones would change what others draw. Xavier, as LC-Rec.
            layer: Any = skip_init(torch.nn.Linear, inner, outer)
            spread = (2 / (inner + outer)) ** 0.5
            weights = generator.standard_normal((outer, inner)).astype(np.float32) * np.float32(spread)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weights))
                layer.bias.zero_()
            layers += [layer, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [dim, *params.hidden, params.latent]
            self.encoder = perceptron(widths)
            self.decoder = perceptron(widths[::-1])
            self.codebooks = torch.nn.Parameter(torch.zeros(params.levels, params.codes, params.latent))

        @torch.no_grad()
        def start(self, batch: torch.Tensor) -> None:
            """Codebooks from k-means of the residuals of one batch, level by level."""
            residual = self.encoder(batch).cpu()
            for level in range(params.levels):
                centres, _ = kmeans(residual, params.codes, seed=[params.seed, level + 1], iterations=100)
                book = torch.empty(params.codes, params.latent)
                book[: len(centres)] = centres
                if len(centres) < params.codes:
                    # Fewer points than codes: the rest starts near the points' centres, apart from each other.
                    extra = params.codes - len(centres)
                    size = residual.square().mean().sqrt().clamp(min=1e-6)
                    noise = generator.standard_normal((extra, params.latent)).astype(np.float32)
                    near = centres[torch.arange(extra) % len(centres)]
                    book[len(centres) :] = near + 0.1 * size * torch.from_numpy(noise)
                self.codebooks[level] = book.to(self.codebooks.device)
                residual = residual - book[torch.cdist(residual, book).argmin(dim=1)]

        def distances(self, residual: torch.Tensor, level: int) -> torch.Tensor:
            book = self.codebooks[level]
            products = residual @ book.T
            return residual.square().sum(1, keepdim=True) - 2 * products + book.square().sum(1)

        def quantise(self, latent: torch.Tensor, balanced: bool) -> tuple[Any, Any, Any, Any]:
            """(sum of codes, codes [batch, levels], mean loss of levels, residual before the last level)."""
            residual, total = latent, torch.zeros_like(latent)
            losses, chosen = [], []
            before = latent
            for level in range(params.levels):
                before = residual
                with torch.no_grad():
                    distance = self.distances(residual, level)
                    if balanced and level == params.levels - 1 and params.sinkhorn:
                        index = sinkhorn(distance, params.sinkhorn, params.sinkhorn_iterations).argmax(dim=1)
                    else:
                        index = distance.argmin(dim=1)
                code = self.codebooks[level][index]
                pull = (residual.detach() - code).square().mean()
                commit = (residual - code.detach()).square().mean()
                losses.append(pull + params.commitment * commit)
                # Straight through: the codes' gradient goes to the latent as if nothing had been rounded.
                code = residual + (code - residual).detach()
                total, residual = total + code, residual - code
                chosen.append(index)
            return total, torch.stack(chosen, dim=1), torch.stack(losses).mean(), before

        def forward(self, batch: torch.Tensor) -> tuple[Any, Any]:
            total, _, loss, _ = self.quantise(self.encoder(batch), balanced=True)
            return torch.nn.functional.mse_loss(self.decoder(total), batch), loss

    return Model().to(params.device)


class RQVAE:
    """LC-Rec's uniform semantic mapping. The training curve, collisions before and after each attempt to
    resolve them, and the mean squared error are in the facts."""

    Params: ClassVar[type[protocol.Params]] = RQVAEParams
    needs: frozenset[str] = frozenset({"embeddings"})

    def __init__(self, params: RQVAEParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        import torch

        vectors, p = inputs.the_embeddings("rqvae"), self.params
        if p.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device 'cuda' is not available here", remedy="cpu")
        with single_thread():
            factor = self._factor(vectors)
            model, facts = self._train(vectors, factor, inputs.context.progress)
            codes, residuals = self._codes(model, vectors, factor, want_residuals=True)
            collisions = [_colliding(codes)]
            best = codes.copy()
            for _ in range(p.rounds if p.sinkhorn else 0):
                if not collisions[-1] or not self._divide(model, codes, residuals):
                    break
                collisions.append(_colliding(codes))
                # A round may also bring documents together that were apart, so the last isn't always the best.
                if collisions[-1] == min(collisions):
                    best = codes.copy()
        codes, facts["collisions"] = best, collisions
        sizes = [p.codes] * p.levels
        state = _state(model, factor)
        if p.collisions == "digit":
            codes, sizes = with_digits(codes, sizes)
            state["digits"] = np.asarray([len(sizes) - p.levels], dtype=np.int64)
        return Docids.of_matrix("rqvae", codes, sizes, facts=facts, state=state)

    def _factor(self, vectors: Floats) -> float:
        if not self.params.scale:
            return 1.0
        rows = sample_of(np.arange(len(vectors)), 65_536, [self.params.seed])
        variance = float(gather(vectors, rows).double().var(dim=0, correction=0).mean())
        # Equal vectors have no variance (but rounding), and no need for a scale.
        return variance**-0.5 if variance > 1e-12 else 1.0

    def _train(self, vectors: Floats, factor: float, progress: Progress) -> tuple[Any, dict[str, Any]]:
        import torch

        p, n = self.params, len(vectors)
        rng = np.random.default_rng(p.seed)
        model = _model(vectors.shape[1], p, rng)
        optimiser = torch.optim.AdamW(model.parameters(), lr=p.learning_rate, weight_decay=p.weight_decay)
        steps = p.epochs * -(-n // p.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / steps))
        curve: list[dict[str, float]] = []
        best: tuple[float, float] | None = None
        kept: dict[str, Any] = {}
        kept_epoch = 0
        with progress.stage("rqvae", total=steps, unit="steps") as stage:
            for epoch in range(1, p.epochs + 1):
                order = rng.permutation(n)
                error = quantiser = 0.0
                for at in range(0, n, p.batch):
                    batch = (gather(vectors, order[at : at + p.batch]) * factor).to(p.device)
                    if epoch == 1 and at == 0:
                        model.start(batch)
                    rebuilt, loss = model(batch)
                    optimiser.zero_grad(set_to_none=True)
                    (rebuilt + p.quantisation * loss).backward()
                    optimiser.step()
                    schedule.step()
                    error += float(rebuilt.detach()) * len(batch) / n
                    quantiser += float(loss.detach()) * len(batch) / n
                    stage.advance()
                point = {"epoch": epoch, "reconstruction": error, "quantisation": quantiser}
                if epoch % p.select_every == 0 or epoch == p.epochs:
                    colliding = _colliding(self._codes(model, vectors, factor)[0])
                    point["colliding"] = colliding
                    # Equally many collisions: the lower error, which is almost always the later epoch's.
                    if best is None or (colliding, error) < best:
                        best = (colliding, error)
                        kept = {name: value.clone() for name, value in model.state_dict().items()}
                        kept_epoch = epoch
                curve.append(point)
        model.load_state_dict(kept)
        return model, {"curve": curve, "epoch": kept_epoch, "factor": factor}

    def _codes(
        self, model: Any, vectors: Floats, factor: float, want_residuals: bool = False
    ) -> tuple[Ints, Floats]:
        """Nearest codes of all documents, int64 [documents, levels], and what is left before the last level."""
        import torch

        p = self.params
        codes = np.empty((len(vectors), p.levels), dtype=np.int64)
        left = np.empty((len(vectors) if want_residuals else 0, p.latent), dtype=np.float32)
        with torch.no_grad():
            for at in range(0, len(vectors), BLOCK):
                latent = model.encoder((gather(vectors, slice(at, at + BLOCK)) * factor).to(p.device))
                _, found, _, before = model.quantise(latent, balanced=False)
                codes[at : at + BLOCK] = found.cpu().numpy()
                if want_residuals:
                    left[at : at + BLOCK] = before.cpu().numpy()
        return codes, left

    def _divide(self, model: Any, codes: Ints, residuals: Floats) -> bool:
        """One round: documents of equal codes get last codes by Sinkhorn among themselves. Changes `codes`;
        whether it did."""
        import torch

        p = self.params
        numbers = _groups(codes)
        by = np.argsort(numbers, kind="stable")
        sizes = np.bincount(numbers)
        start = np.cumsum(sizes) - sizes
        changed = False
        # Groups of one size at a time, as many as _ASSIGNED numbers hold: most are pairs, and there may be many.
        for size in np.unique(sizes[sizes > 1]).tolist():
            alike = start[sizes == size]
            step = max(1, _ASSIGNED // (size * p.codes))
            for at in range(0, len(alike), step):
                rows = by[alike[at : at + step, None] + np.arange(size)]
                with torch.no_grad():
                    distance = model.distances(gather(residuals, rows.reshape(-1)).to(p.device), p.levels - 1)
                    mass = sinkhorn(distance.reshape(-1, size, p.codes), p.sinkhorn, p.sinkhorn_iterations)
                    index = mass.argmax(dim=-1).cpu().numpy()
                changed = changed or bool(np.any(codes[rows, -1] != index))
                codes[rows, -1] = index
        return changed


def _state(model: Any, factor: float) -> dict[str, npt.NDArray[Any]]:
    """What gives a vector its codes: the factor that scales it, float64 [1]; the encoder's layers, weight_0 float32
    [outer, inner], bias_0 [outer], weight_1, ... with ReLU between them; codebooks float32 [levels, codes, latent].
    """
    state = {
        "factor": np.asarray([factor], dtype=np.float64),
        "codebooks": np.asarray(model.codebooks.detach().cpu().contiguous().numpy()),
    }
    layers = [layer for layer in model.encoder if hasattr(layer, "weight")]
    for number, layer in enumerate(layers):
        state[f"weight_{number}"] = np.asarray(layer.weight.detach().cpu().contiguous().numpy())
        state[f"bias_{number}"] = np.asarray(layer.bias.detach().cpu().contiguous().numpy())
    return state


def _groups(codes: Ints) -> Ints:
    n, levels = codes.shape
    return group(codes.reshape(-1), np.arange(n + 1, dtype=np.int64) * levels)


def _colliding(codes: Ints) -> int:
    """Documents that are too many for the distinct codes: the numerator of LC-Rec's collision rate."""
    return len(codes) - int(_groups(codes).max()) - 1
