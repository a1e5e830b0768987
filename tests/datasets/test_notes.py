from hpo.datasets.notes import Notes


def test_a_line_has_the_count_and_the_first_names() -> None:
    notes = Notes()
    assert notes.lines() == ()
    for number in range(5):
        notes.add("files left out", f"{number}.txt")
    notes.add("classes without pictures", "cat")
    assert notes.lines() == ("files left out: 5 (0.txt, 1.txt, 2.txt, ...)", "classes without pictures: 1 (cat)")
