"""Tables for people."""

from rich.console import Console

from hpo.display.tables import scores_table


def lines(metrics: int) -> list[str]:
    console = Console(width=80, no_color=True)
    rows = {
        "best single (trial 3)": {f"metric_{n}": n / 10 for n in range(metrics)},
        "ensemble (greedy)": {"metric_0": 0.5},
    }
    with console.capture() as captured:
        console.print(scores_table(rows, "Test split"))
    return captured.get().splitlines()


def test_few_metrics_stand_beside_each_other_and_many_below() -> None:
    beside, below = lines(3), lines(10)
    assert "metric_0" in beside[2] and "metric_2" in beside[2] and "best single (trial 3)" in beside[4]
    assert "best single (trial 3)" in below[2] and "ensemble (greedy)" in below[2]
    (last,) = (line for line in below if "metric_9" in line)
    assert "0.9000" in last and "-" in last and max(map(len, below)) <= 80
