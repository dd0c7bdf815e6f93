"""How many bytes strangers may have kept."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.client.memory import BOARDS_SHARE, CACHES_SHARE, LESSONS_SHARE, Memory
from demo.leaderboard.making_room import SHORT_SHARE
from demo.web.budgets import LITTLE_PART, NETWORK_PART, SHARES, Budget, OutOfBudget, budgets
from tests.clock import Clock
from tests.servers import REPOSITORY

MOST = 6400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> Budget:
    return Budget("things", lambda: MOST, clock)


def test_a_network_holds_a_quarter(budget: Budget, clock: Clock) -> None:
    budget.take("one", "a", MOST // 4, 60)
    with pytest.raises(
        OutOfBudget, match="memory budget of your network is used up: things"
    ) as caught:
        budget.take("one", "b", 1, 60)
    assert (caught.value.code, caught.value.retry_after_seconds) == (429, 60)
    budget.take("one", "a", MOST // 4, 60)  # the same thing once more is nothing more
    budget.take("two", "b", 1, 60)
    assert budget.size == MOST // 4 + 1
    clock.now += caught.value.retry_after_seconds  # to the second, and not one later
    budget.take("one", "b", MOST // 4, 60)
    assert budget.size == MOST // 4  # of the two that were over nothing is left


def test_the_last_quarter_is_for_who_holds_little(budget: Budget) -> None:
    for network in ("a", "b", "c"):
        budget.take(network, "all", MOST // 4, 60)
    with pytest.raises(OutOfBudget, match="memory budget of all visitors"):
        budget.take("late", "much", MOST // LITTLE_PART + 1, 60)
    for number in range(MOST // 4 // (MOST // LITTLE_PART)):
        budget.take(f"late {number}", "a little", MOST // LITTLE_PART, 60)
    assert budget.size == MOST
    with pytest.raises(OutOfBudget):
        budget.take("too late", "a little", 1, 60)


def test_what_grows_counts_with_what_it_has_grown_to(budget: Budget) -> None:
    budget.take("one", "a", 100, 60)
    budget.take("one", "a", 150, 60)
    budget.take("one", "a", 50, 60)
    assert budget.size == 150
    budget.settle("one", "a", 60)
    budget.settle("one", "a", 90)  # never more than it was
    assert budget.size == 60
    with pytest.raises(OutOfBudget):
        budget.take("one", "b", MOST // 4 - 59, 60)
    budget.settle("one", "a")
    budget.settle("one", "a")
    budget.settle("nobody", "a", 10)
    assert budget.size == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefghij"),
            st.sampled_from("xyz"),
            st.integers(0, MOST),
            st.integers(1, 50),
            st.booleans(),
        )
    )
)
def test_never_more_than_there_is(
    steps: list[tuple[str, str, int, int, bool]],
) -> None:
    clock = Clock()
    budget = Budget("things", lambda: MOST, clock)
    model: dict[tuple[str, str], tuple[float, int]] = {}
    for network, thing, size, seconds, back in steps:
        clock.now += 3
        if back:
            budget.settle(network, thing)
            model.pop((network, thing), None)
            continue
        try:
            budget.take(network, thing, size, seconds)
        except OutOfBudget:
            pass
        else:
            until, before = model.get((network, thing), (0.0, 0))
            before = before if until > clock.now else 0  # what is over is nothing
            model[network, thing] = max(until, clock.now + seconds), max(before, size)
        live = {key: size for key, (until, size) in model.items() if until > clock.now}
        assert sum(live.values()) <= budget.size <= MOST
        for name in "abcdefghij":
            assert sum(size for (of, _), size in live.items() if of == name) <= MOST // NETWORK_PART


def test_threads_take_no_more_together(budget: Budget) -> None:
    taken = []
    ready = threading.Barrier(8)

    def take(number: int) -> None:
        ready.wait(5)
        for part in range(100):
            try:
                budget.take("one", f"{number} {part}", 10, 60)
            except OutOfBudget:
                return
            taken.append(10)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sum(taken) == budget.size == MOST // 4


def test_each_worker_gives_out_its_share_of_what_redis_has() -> None:
    memory = Memory(64 << 20)
    made = budgets(memory, 2)
    assert made.keys.most == (64 << 20) // 12
    memory.maxmemory_bytes = 128 << 20
    assert made.keys.most == (128 << 20) // 12
    assert sum(share for _, share in SHARES.values()) <= 13 / 24


def test_the_docs_name_each_with_its_share() -> None:
    told = (REPOSITORY / "docs" / "security.md").read_text()
    for name, (what, share) in SHARES.items():
        assert f"| {name} | {what} | 1/{round(1 / share)} |" in told
    for share in (CACHES_SHARE, SHORT_SHARE, LESSONS_SHARE, BOARDS_SHARE):
        assert f"| {share * 100:.0f} % full |" in told
