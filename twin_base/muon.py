"""Muon (Keller Jordan, 2024) in float32: steepest descent for weight matrices under the spectral norm.

PyTorch's own Muon orthogonalises in bfloat16, which costs a processor without bfloat16 instructions three times the
whole forward and backward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# The quintic of the reference implementation: it maps singular values of (0, 1] close to 1 within five rounds.
A, B, C, ROUNDS = 3.4445, -4.7750, 2.0315, 5


def orthogonal(matrices_NRC: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices of N matrices with R <= C, roughly: singular values between 0.7 and 1.2."""
    x_NRC = matrices_NRC / (matrices_NRC.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram_NRR = x_NRC @ x_NRC.mT
        x_NRC = x_NRC.baddbmm(gram_NRR.baddbmm(gram_NRR, gram_NRR, beta=B, alpha=C), x_NRC, beta=A)
    return x_NRC


def muon(parameters: list[Any], lr: float, weight_decay: float, momentum: float = 0.95) -> Any:
    """An optimiser of two-dimensional parameters: w <- (1 - lr decay) w - 0.2 sqrt(max(R, C)) lr orthogonal(m).

    m is the gradient's Nesterov momentum. The factor gives an update the root mean square of AdamW's, so that one rate
    fits both (arXiv:2502.16982).
    """
    import torch

    class Muon(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            """One update; matrices of one size are orthogonalised together."""
            for group in self.param_groups:
                by_size: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
                for weight in (weight for weight in group["params"] if weight.grad is not None):
                    mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                    mean.lerp_(weight.grad, 1 - group["momentum"])
                    wanted = weight.grad.lerp(mean, group["momentum"])
                    by_size.setdefault(tuple(sorted(weight.shape)), []).append((weight, wanted))
                for size, pairs in by_size.items():
                    stack = torch.stack([g if g.shape[0] <= g.shape[1] else g.T for _, g in pairs])
                    for (weight, wanted), update in zip(pairs, orthogonal(stack), strict=True):
                        weight.mul_(1 - group["lr"] * group["weight_decay"])
                        turned = update if wanted.shape[0] <= wanted.shape[1] else update.T
                        weight.add_(turned, alpha=-0.2 * size[1] ** 0.5 * group["lr"])

    return Muon(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
