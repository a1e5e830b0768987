import pytest
import torch

from hpo import models
from hpo.models.linear_forecast import LinearForecast, linear_forecast
from hpo.models.standardize import WindowScale
from hpo.spec import Named
from hpo.tasks.features import History


@pytest.mark.parametrize("form", ["nlinear", "dlinear"])
def test_a_shift_of_the_window_shifts_the_forecast(form: str) -> None:
    network = linear_forecast((12, 3), 4, form=form, average=5)  # type: ignore[arg-type]
    inputs = torch.randn(6, 12, 3)
    shifted = inputs + torch.tensor([7.0, 0.0, 0.0])
    before, after = network(inputs), network(shifted)
    assert before.shape == (6, 4)
    if form == "nlinear":
        assert torch.allclose(after, before + 7, atol=1e-4)
    else:  # at first it forecasts the mean
        assert torch.allclose(before, inputs[:, :, :1].mean(dim=1).expand(6, 4), atol=1e-5)
    changed = inputs.clone()
    changed[:, :, 1:] += 1
    assert torch.equal(network(changed), before)  # covariates are left out, unless they are asked for


def test_covariates_are_used_where_they_are_asked_for() -> None:
    network = linear_forecast((12, 3), 4, covariates=True)
    assert isinstance(network, LinearForecast) and network.others is not None
    inputs = torch.randn(6, 12, 3)
    changed = inputs.clone()
    changed[:, :, 1:] += 1
    assert not torch.equal(network(changed), network(inputs))


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((12,), {}, "it takes series"),
        ((12, 1), {"form": "linear"}, "form must be nlinear or dlinear"),
        ((12, 1), {"dropout": 1.0}, "dropout in"),
        ((12, 1), {"average": 4}, "an odd number of steps, got 4"),
    ],
)
def test_settings_out_of_range_are_told(shape: tuple[int, ...], settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_forecast(shape, 3, **settings)  # type: ignore[arg-type]


def windows() -> torch.Tensor:
    inputs = torch.randn(5, 8, 2, dtype=torch.float32) * 3 + 40
    inputs[0, 2:4, 0] = torch.nan
    inputs[1, -1, 0] = torch.nan
    inputs[2, :, 0] = torch.nan
    inputs[3, :, 0] = 7.0
    return inputs


@pytest.mark.parametrize("normalize", ["window", "last"])
def test_a_window_is_given_in_relation_to_itself_and_forecasts_come_back(normalize: str) -> None:
    layout = [History("y", channels=("y", "x"), normalize=normalize)]
    model = models.build(Named.model_validate({"name": "mlp", "width": 4}), (8, 2), 3, "regression", layout)
    first = model.standardize
    assert isinstance(first, WindowScale)
    first.fit(torch.tensor([40.0, 40.0]).double().numpy(), torch.tensor([3.0, 3.0]).double().numpy())
    inputs = windows()
    given = first(inputs)
    assert given.shape == inputs.shape and given.isfinite().all()
    level, scale = first.level_and_scale(inputs)
    if normalize == "window":
        assert float(level[0]) == pytest.approx(float(inputs[0, :, 0].nanmean()))
        assert given[4, :, 0].mean().abs() < 1e-5 and given[4, :, 0].std(correction=0) == pytest.approx(1, abs=1e-2)
    else:
        assert float(level[1]) == float(inputs[1, -2, 0]) and (scale == 3).all()
    assert float(level[2]) == 40 and float(scale[2]) == 3 and float(level[3]) == 7
    outputs = torch.randn(5, 3)
    assert torch.allclose((first.restored(outputs, inputs) - level) / scale, outputs, atol=1e-3)
    model.eval()
    further = inputs.clone()
    further[:, :, 0] += 100
    apart = model(further)[[0, 1, 3, 4]] - model(inputs)[[0, 1, 3, 4]]
    assert torch.allclose(apart, torch.tensor(100.0), atol=1e-2)


def test_without_it_windows_are_standardized_as_all_are() -> None:
    model = models.build(Named(name="mlp"), (8, 2), 3, "regression", [History("y", normalize="none")])
    assert not isinstance(model.standardize, WindowScale)
