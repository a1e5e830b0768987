"""What is kept of a stream."""

from hypothesis import given
from hypothesis import strategies as st

from hpo.study.artifacts import MOST_PRINTED
from hpo.training.output import Output


@given(st.lists(st.binary(max_size=50)))
def test_what_is_short_is_kept_whole(pieces: list[bytes]) -> None:
    output = Output()
    for piece in pieces:
        output.add(piece)
    assert output.kept == b"".join(pieces)


@given(st.lists(st.integers(1, 3 * 2**18), min_size=1, max_size=12), st.integers(0, 255))
def test_of_more_the_beginning_and_the_end_are(sizes: list[int], seed: int) -> None:
    output, whole = Output(), bytearray()
    for place, size in enumerate(sizes):
        piece = bytes((seed + place + one) % 256 for one in range(7)) * (size // 7 + 1)
        output.add(piece)
        whole += piece
    half, kept = MOST_PRINTED // 2, output.kept
    if len(whole) <= MOST_PRINTED:
        assert kept == bytes(whole)
    else:
        assert kept.startswith(whole[:half]) and kept.endswith(whole[-half:])
        assert kept[half:-half] == f"\n... {len(whole) - MOST_PRINTED:,} bytes left out ...\n".encode()


def test_a_stream_goes_on_where_it_was() -> None:
    assert Output(Output(b"a\n").kept + b"b\n").kept == b"a\nb\n"


def test_its_last_lines_are_short() -> None:
    output = Output(b"".join(b"%d\n" % line for line in range(100)) + b"\n" + b"x" * 1000 + b"\r\n\xff last \n\n")
    assert output.last[-2:] == ["x" * 300 + " ...", "\ufffd last"] and len(output.last) == 20
    assert Output().last == []
