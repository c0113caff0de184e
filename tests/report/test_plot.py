import pytest
from matplotlib.image import imread

from calico_mn.report import plot
from calico_mn.report.summary import summarise

MODES = ("Always", "CrossSubnet", "Never")


@pytest.mark.parametrize("options", [
    pytest.param({}, id="all"),
    pytest.param({"modes": ("Never",), "repeats": 1}, id="one mode, one repeat"),
])
def test_a_picture_is_drawn(record, tmp_path, options):
    samples = record(**options)
    path = tmp_path / "plot.png"
    plot.draw(path, summarise(samples, MODES), samples, "footer")
    picture = imread(path)[..., :3]
    assert picture.shape[1] == 1920
    # Something is drawn, and nothing touches the picture's edge: no text is cut off there.
    assert (picture < 0.9).any()
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 1).all()
