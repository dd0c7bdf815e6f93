from demo.rate_limit.gcra import Gcra
from tests.rate_limit.limiter_tests import LimiterTests
from tests.rate_limit.models import Cells


class TestGcra(LimiterTests):
    algorithm, model = Gcra, Cells
    bytes_at_a_hundred = 120
