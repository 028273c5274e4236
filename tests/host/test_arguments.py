import argparse

import pytest

from host.arguments import Parser, UsageError, real, whole


def test_wrong_usage_is_raised_with_the_usage_and_the_reason():
    parser = Parser(prog="penstock")
    parser.add_subparsers(required=True).add_parser("up").add_argument("--port", type=whole(0, 9))
    for words, reason in ((["up", "--nonsense"], "--nonsense"), (["up", "--port", "10"], "'10'")):
        with pytest.raises(UsageError, match=reason) as caught:
            parser.parse_args(words)
        assert str(caught.value).startswith("usage: penstock")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "0", "1e300", "", "soon", "11"])
def test_what_is_no_number_within_the_limits_is_refused_with_what_to_write(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"write a number from 0.5 to 10"):
        real(0.5, 10)(text)
    with pytest.raises(argparse.ArgumentTypeError, match=r"write a whole number from 1 to 10"):
        whole(1, 10)(text)


def test_what_is_within_the_limits_is_taken():
    assert [real(0.5, 10)(text) for text in ("0.5", "10", "1e0")] == [0.5, 10.0, 1.0]
    assert [whole(1, 10)(text) for text in ("1", "10")] == [1, 10]
