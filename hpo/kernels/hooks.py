"""Hooks on the tensors that torch saves for gradients, such as those of `torch.utils.checkpoint`."""

from torch.autograd.graph import disable_saved_tensors_hooks


def has_hooks() -> bool:
    """Whether tensors that are saved now would go through such hooks."""
    try:  # torch refuses to disable hooks while there are any; it has no other public way to say so
        with disable_saved_tensors_hooks("there are hooks"):
            return False
    except RuntimeError:
        return True
