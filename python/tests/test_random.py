import copy
import math
import pickle

import numpy as np
import pytest

import lampyr as lp

N = 20_000


@pytest.fixture(autouse=True)
def seeded():
    lp.manual_seed(1234)


def distance(values, cdf):
    """Kolmogorov and Smirnov's distance of a sample to a distribution, times the root of its size."""
    x = np.sort(np.asarray(values, dtype=np.float64))
    n = len(x)
    steps = np.arange(1, n + 1) / n
    at = np.asarray([cdf(v) for v in x])
    return max(np.abs(steps - at).max(), np.abs(at - (steps - 1 / n)).max()) * math.sqrt(n)


def normal_cdf(v):
    return 0.5 * (1 + math.erf(v / math.sqrt(2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_continuous_distributions(dtype):
    new = lambda: lp.empty(N, dtype=dtype)  # noqa: E731
    for sample, cdf in [
        (lp.rand(N, dtype=dtype), lambda v: v),
        (lp.randn(N, dtype=dtype), normal_cdf),
        (lp.rand_like(new()), lambda v: v),
        (lp.randn_like(new()), normal_cdf),
        (new().uniform_(-2, 3), lambda v: (v + 2) / 5),
        (new().normal_(1, 2), lambda v: normal_cdf((v - 1) / 2)),
        (new().exponential_(2), lambda v: 1 - math.exp(-2 * v)),
        (new().cauchy_(1, 2), lambda v: 0.5 + math.atan((v - 1) / 2) / math.pi),
        (new().log_normal_(0, 1), lambda v: normal_cdf(math.log(v))),
        (lp.normal(2.0, 3.0, (N,), dtype=lp.float64), lambda v: normal_cdf((v - 2) / 3)),
        (lp.normal(lp.zeros(N), 2.0), lambda v: normal_cdf(v / 2)),
        (lp.normal(1.0, lp.ones(N)), lambda v: normal_cdf(v - 1)),
    ]:
        # The distance of a fitting sample passes 2.2 once in 10,000 times.
        assert distance(sample.numpy(), cdf) < 2.2


def test_whole_numbers():
    x = lp.randint(-3, 7, (N,)).numpy()
    assert x.dtype == np.int64 and x.min() == -3 and x.max() == 6
    assert np.abs(np.bincount(x + 3) - N / 10).max() < 5 * math.sqrt(N / 10)
    assert lp.randint(5, (2, 3)).shape == (2, 3) and lp.randint(high=5, size=(2,)).dtype is lp.int64
    assert lp.randint(0, 2, (3,), dtype=lp.float32).dtype is lp.float32
    wide = lp.randint(-(2**63), 2**63 - 1, (N,)).numpy().astype(np.float64)
    assert abs(wide.mean()) < 2**63 * 0.03 and wide.min() < -(2**62) and wide.max() > 2**62
    assert lp.randint_like(lp.zeros(3), 4).dtype is lp.float32
    for bad in (
        lambda: lp.randint(3, 3, (1,)),
        lambda: lp.randint(0, 300, (1,), dtype=lp.uint8),
        lambda: lp.randint(3),
    ):
        with pytest.raises(RuntimeError):
            bad()
    assert lp.empty(N, dtype=lp.bool).random_().sum().item() in range(N // 2 - 400, N // 2 + 400)
    assert lp.empty(N, dtype=lp.uint8).random_().max().item() == 255
    assert lp.empty(N, dtype=lp.int64).random_().min().item() >= 0
    assert lp.empty(9).random_(2, 4).tolist().count(2) + lp.empty(9).random_(3).tolist().count(2) < 18
    trials = lp.empty(N).geometric_(0.25).numpy()
    assert abs(trials.mean() - 4) < 0.15 and trials.min() == 1


def test_permutations():
    x = lp.randperm(1000)
    assert sorted(x.tolist()) == list(range(1000)) and x.tolist() != list(range(1000))
    assert lp.randperm(0).shape == (0,) and lp.randperm(3, dtype=lp.int32).dtype is lp.int32
    first = np.bincount([lp.randperm(5)[0].item() for _ in range(2000)])
    assert first.min() > 320 and first.max() < 480


def test_coins_categories_and_counts():
    p = lp.full((N,), 0.3)
    assert abs(lp.bernoulli(p).mean().item() - 0.3) < 0.02 and set(lp.bernoulli(p).tolist()) == {0.0, 1.0}
    assert abs(lp.empty(N).bernoulli_(0.7).mean().item() - 0.7) < 0.02
    assert lp.bernoulli(lp.tensor([0.0, 1.0])).tolist() == [0, 1]
    for bad in ([1.5], [-0.1], [float("nan")]):
        with pytest.raises(RuntimeError):
            lp.bernoulli(lp.tensor(bad))
    weights = lp.tensor([1.0, 0.0, 3.0])
    counts = np.bincount(lp.multinomial(weights, N, replacement=True).numpy(), minlength=3)
    assert counts[1] == 0 and abs(counts[2] / N - 0.75) < 0.02
    both = lp.multinomial(lp.tensor([[1.0, 2.0], [5.0, 1.0]]), 2)
    assert sorted(both[0].tolist()) == sorted(both[1].tolist()) == [0, 1]
    firsts = [lp.multinomial(lp.tensor([1.0, 3.0]), 1).item() for _ in range(2000)]
    assert abs(sum(firsts) / 2000 - 0.75) < 0.05
    for bad in (
        lambda: lp.multinomial(weights, 3),
        lambda: lp.multinomial(lp.zeros(2), 1),
        lambda: lp.multinomial(-weights, 1),
    ):
        with pytest.raises(RuntimeError):
            bad()
    for rate in (0.5, 4.0, 10.0, 50.0, 3000.0):
        x = lp.poisson(lp.full((N,), rate)).numpy()
        assert abs(x.mean() - rate) < 5 * math.sqrt(rate / N) and abs(x.var() / rate - 1) < 0.06
    assert lp.poisson(lp.zeros(3)).tolist() == [0, 0, 0]
    with pytest.raises(RuntimeError):
        lp.poisson(lp.tensor([-1.0]))


def test_seeds_and_states():
    a = lp.rand(5)
    lp.manual_seed(1234)
    assert lp.rand(5).tolist() == a.tolist() and lp.initial_seed() == 1234
    state = lp.get_rng_state()
    b, c = lp.randn(3), lp.randperm(9)
    lp.set_rng_state(state)
    assert lp.randn(3).tolist() == b.tolist() and lp.randperm(9).tolist() == c.tolist()
    with lp.fork_rng():
        lp.rand(3)
        lp.manual_seed(9)
    again = lp.get_rng_state()
    lp.set_rng_state(state)
    lp.randn(3), lp.randperm(9)
    assert lp.get_rng_state().tolist() == again.tolist()
    assert lp.seed() == lp.initial_seed() and lp.seed() != lp.seed()
    assert lp.manual_seed(-1).initial_seed() == 2**64 - 1
    for bad in (lp.zeros(16), lp.zeros(3, dtype=lp.uint8)):
        with pytest.raises(RuntimeError):
            lp.set_rng_state(bad)
    with pytest.raises(RuntimeError):
        lp.manual_seed(2**64)


def test_generators():
    g, h = lp.Generator().manual_seed(7), lp.Generator().manual_seed(7)
    before = lp.get_rng_state().tolist()
    for draw in (
        lambda g: lp.rand(3, generator=g),
        lambda g: lp.randn(3, generator=g),
        lambda g: lp.randint(9, (3,), generator=g),
        lambda g: lp.randperm(9, generator=g),
        lambda g: lp.normal(0.0, 1.0, (3,), generator=g),
        lambda g: lp.bernoulli(lp.full((9,), 0.5), generator=g),
        lambda g: lp.multinomial(lp.ones(9), 3, generator=g),
        lambda g: lp.poisson(lp.ones(3), generator=g),
        lambda g: lp.zeros(3).exponential_(generator=g),
        lambda g: lp.zeros(3).uniform_(generator=g),
        lambda g: lp.zeros(3).normal_(generator=g),
        lambda g: lp.zeros(3).random_(generator=g),
        lambda g: lp.zeros(9).bernoulli_(generator=g),
        lambda g: lp.rand_like(lp.zeros(3), generator=g),
    ):
        assert draw(g).tolist() == draw(h).tolist()
    assert lp.get_rng_state().tolist() == before
    back = pickle.loads(pickle.dumps(g))
    assert lp.rand(2, generator=back).tolist() == lp.rand(2, generator=g).tolist()
    h.set_state(g.get_state())
    assert lp.rand(2, generator=h).tolist() == lp.rand(2, generator=g).tolist()
    assert str(g.device) == "cpu" and lp.default_generator.initial_seed() == lp.initial_seed()
    assert copy.deepcopy(lp.get_rng_state()).tolist() == lp.get_rng_state().tolist()


def test_numbers_do_not_depend_on_threads():
    def numbers():
        lp.manual_seed(3)
        return [
            lp.rand(100_003).sum().item(),
            lp.randn(70_001).tolist()[-3:],
            lp.randint(100, (50_021,)).tolist()[-5:],
            lp.empty(40_001).exponential_().tolist()[-3:],
            lp.bernoulli(lp.full((99_991,), 0.4)).sum().item(),
        ]

    before = lp.get_num_threads()
    made = []
    for n in (1, 2, 3):
        lp.set_num_threads(n)
        made.append(numbers())
    lp.set_num_threads(before)
    assert made[0] == made[1] == made[2]


def test_arguments():
    out = lp.empty(3)
    assert lp.rand(3, out=out) is out and out.max().item() < 1
    assert lp.rand((2, 3)).shape == lp.rand([2, 3]).shape == lp.rand(2, 3).shape == (2, 3)
    assert lp.rand(2, requires_grad=True).requires_grad and lp.randn((), dtype=lp.float64).shape == ()
    assert lp.rand(0).shape == (0,)
    for bad in (
        lambda: lp.rand(3, dtype=lp.int64),
        lambda: lp.rand(-1),
        lambda: lp.rand(2**40, 2**40),
        lambda: lp.empty(2).uniform_(2, 1),
        lambda: lp.empty(2).normal_(0, -1),
        lambda: lp.empty(2).exponential_(0),
        lambda: lp.normal(0.0, 1.0),
        lambda: lp.normal(lp.zeros(2), -lp.ones(2)),
    ):
        with pytest.raises((RuntimeError, MemoryError)):
            bad()
