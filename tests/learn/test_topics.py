"""Every topic of the article that this app follows has a lesson or a page."""

from demo.app import USE_CASES
from demo.learn.reader import lessons

CONCEPTS = (
    *("cache-aside", "TTL", "invalidation", "eviction", "serialization"),
    *("connection pooling", "key naming"),
)
MISTAKES = (
    *("no TTL", "no invalidation", "stampede", "caching everything or large values"),
    *("no fallback when Redis is away", "sensitive data", "unbounded keys"),
)
INTERVIEW = (
    "interview: implement caching",
    "interview: pros and cons",
    "interview: choose a TTL",
    "interview: invalidation",
    "interview: cache stampede",
    "interview: strategies",
    "interview: data structures",
    "interview: eviction policies",
    "interview: monitoring",
)
CASES = (
    "use case: database query results",
    "use case: API responses",
    "use case: sessions",
    "use case: rate limiting",
    "use case: leaderboards",
    "use case: counters and analytics",
)


def test_every_topic_of_the_article_has_a_lesson() -> None:
    told = {topic for lesson in lessons().values() for topic in lesson.topics}
    assert set(CONCEPTS + MISTAKES + INTERVIEW + CASES) - told == set()
    assert len(INTERVIEW) == 9 and len(CASES) == 6


def test_every_use_case_is_measured_or_led_to() -> None:
    seen = {lesson.use_case for lesson in lessons().values()}
    seen |= {page.split(".")[0] for lesson in lessons().values() for page, _ in lesson.pages}
    assert set(USE_CASES) <= seen


def test_all_seventeen_are_there() -> None:
    assert len(lessons()) == 17
