import numpy as np
import pytest

from skvae.validation import check_weights, find_batches, index_batches

X = np.zeros((3, 2))
KNOWN = np.array(["a", "b"])


def test_batches_are_sorted_and_indexed():
    known, index = find_batches(["b", "a", "b"], X)
    np.testing.assert_array_equal(known, ["a", "b"])
    np.testing.assert_array_equal(index, [1, 0, 1])


def test_without_labels_there_are_no_batches():
    known, index = find_batches(None, X)
    assert known is None
    np.testing.assert_array_equal(index, [0, 0, 0])


def test_one_label_is_that_of_all_rows():
    np.testing.assert_array_equal(index_batches("b", X, KNOWN, required=True), [1, 1, 1])


def test_an_unknown_batch_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"batch holds \['c', 'd'\]; expected one of \['a', 'b'\] for each row"):
        index_batches(["d", "a", "c"], X, KNOWN, required=False)


def test_a_missing_batch_is_an_error_where_it_is_required_alone():
    with pytest.raises(ValueError, match=r"batch is None; expected the batch of each row, one of \['a', 'b'\]"):
        index_batches(None, X, KNOWN, required=True)
    np.testing.assert_array_equal(index_batches(None, X, KNOWN, required=False), [0, 0, 0])


def test_a_batch_that_fit_was_not_given_is_an_error():
    with pytest.raises(ValueError, match=r"batch == 'a', must be None: fit was given none"):
        index_batches("a", X, None, required=False)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (["a", "b"], "inconsistent numbers of samples"),
        ([["a", "b"]] * 3, "1d array"),
        ([0.0, np.nan, 1.0], "batch contains NaN"),
        (np.array(["a", 1, "b"], dtype=object), "batch mixes types"),
    ],
)
def test_labels_of_the_wrong_kind_are_errors(batch, message):
    with pytest.raises(ValueError, match=message):
        find_batches(batch, X)


def test_weights_are_ones_by_default():
    np.testing.assert_array_equal(check_weights(None, X), [1, 1, 1])


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1, 1], "shape"), ([1, -1, 2], "Negative values"), ([0.2, 0.2, 0.2], "the sum 0.6, must be 1 or more")],
)
def test_weights_that_make_no_pass_are_errors(weights, message):
    with pytest.raises(ValueError, match=message):
        check_weights(weights, X)
