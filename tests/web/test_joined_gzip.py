import gzip

from hypothesis import given
from hypothesis import strategies as st

from demo.web.joined_gzip import STORED_BYTES, digest, fixed, gzipped, plain

PIECES = st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=8)


@given(PIECES)
def test_what_is_joined_is_read_as_its_pieces(given: list[tuple[bool, bytes]]) -> None:
    pieces = [fixed(piece) if stays else piece for stays, piece in given]
    whole = b"".join(piece for _, piece in given)
    assert gzip.decompress(gzipped(pieces)) == plain(pieces) == whole


def test_a_piece_larger_than_a_stored_block_takes_several() -> None:
    large = bytes(range(256)) * 600
    assert len(large) > 2 * STORED_BYTES
    assert gzip.decompress(gzipped([fixed(b"<p>"), large, fixed(b"</p>")])) == b"<p>%b</p>" % large


def test_what_is_put_in_is_not_compressed_with_what_others_chose() -> None:
    """So the length of an answer does not tell how much a secret and a guess have in common."""
    secret, page = b"token=9f3c1d77", fixed(b"<p>token=9f3c1d77</p>" * 20)
    same, other = (gzipped([page, secret, guess]) for guess in (secret, b"token=00000000"))
    assert len(same) == len(other) and secret in same


def test_the_digest_is_that_of_all_pieces() -> None:
    told = {
        digest(pieces)
        for pieces in ([fixed(b"a"), b"b"], [fixed(b"a"), b"c"], [fixed(b"b"), b"b"], [fixed(b"a")])
    }
    assert len(told) == 4 and all(len(each) == 24 for each in told)
