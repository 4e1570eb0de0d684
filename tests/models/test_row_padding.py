from jaxflow.models.row_padding import size_class


def test_an_eighth_more_at_most():
    assert [size_class(rows) for rows in (1, 15, 16, 17, 18, 100, 300, 1000)] == [1, 15, 16, 18, 18, 104, 320, 1024]
    for rows in range(1, 5000):
        found = size_class(rows)
        assert rows <= found <= rows * 9 / 8
        assert size_class(found) == found


def test_few_classes_for_each_doubling():
    assert len({size_class(rows) for rows in range(513, 1025)}) == 8
