import pytest
import torch


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
        ),
    ]
)
def device(request: pytest.FixtureRequest) -> str:
    """Each kind of device that training knows, where it is there."""
    return str(request.param)
