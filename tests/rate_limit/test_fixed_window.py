from demo.rate_limit.fixed_window import FixedWindow
from tests.rate_limit.limiter_tests import LimiterTests
from tests.rate_limit.models import Fixed


class TestFixedWindow(LimiterTests):
    algorithm, model = FixedWindow, Fixed
    at_the_edge = 10
    # It forgets at its edge.
    allowed_after_refusals = ({True}, {True})
