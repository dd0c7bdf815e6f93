from demo.rate_limit.token_bucket import TokenBucket
from tests.rate_limit.limiter_tests import LimiterTests
from tests.rate_limit.models import Bucket


class TestTokenBucket(LimiterTests):
    algorithm, model = TokenBucket, Bucket
