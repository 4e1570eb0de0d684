"""Trimmed likelihood: which rows count in an epoch, and what comes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models import MAF, NSF, AutoEncoderSpec, Ensemble, EnsembleSpec, Model
from jaxflow.models.model import weighted_mean
from jaxflow.training import Batch, FitSpec, fit
from jaxflow.training.engine import epoch
from jaxflow.training.engine.trim import trimmed

KEY = jax.random.key(0)
FLOW = MAF(layers=1, hidden=(8,))
SPEC = FitSpec(epochs=4, batch_size=16, learning_rate=0.3, warmup=0.0, patience=None, trim=0.2)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def rows(n: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(n, 2))


class Location(Model):
    """A point, and the squared distance to it; its loss is twice that, NaN for a batch with a row beyond 100."""

    def __init__(self, start: float = 0.0):
        self.dim, self.context_dim = 2, 0
        self.point = nnx.Param(jnp.full(2, start))

    def score(self, x, context=None):
        return jnp.sum((x - self.point[...]) ** 2, axis=-1)

    def losses(self, x, context=None):
        return 2 * self.score(x) + jnp.where(jnp.any(x > 100, axis=-1), jnp.nan, 0.0)

    def loss(self, x, weight=None, context=None, rngs=None):
        return weighted_mean(2 * self.score(x), weight) + jnp.where(jnp.any(x > 100), jnp.nan, 0.0)


def fitted(model, x, valid=None, spec=SPEC, **changes):
    return fit(model, x, valid, spec.model_copy(update=changes), key=KEY)


@pytest.mark.parametrize("average", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_is_one_in_which_the_worst_rows_weigh_nothing(weighted, average):
    x, held_out, counts = rows(), rows(50, seed=1), np.random.default_rng(4).uniform(size=50)
    valid = Batch(jnp.asarray(held_out), jnp.asarray(counts))
    weight = np.random.default_rng(3).uniform(0.5, 1.5, size=64) if weighted else np.ones(64)
    spec = SPEC.model_copy(update={"average_decay": average})
    plan, state = epoch.start(Location(5.0), spec, 64, KEY)
    plain, same = epoch.start(Location(5.0), spec.model_copy(update={"trim": 0.0}), 64, KEY)
    left_out = []
    for _ in range(4):
        point = np.asarray(state.trained.judged[0])
        order = np.argsort(-((x - point) ** 2).sum(axis=1))
        out = order[np.cumsum(weight[order]) <= 0.2 * weight.sum()]
        left_out.append(set(out.tolist()))
        by_hand = Batch(jnp.asarray(x), jnp.asarray(np.where(np.isin(np.arange(64), out), 0.0, weight)))
        given = Batch(jnp.asarray(x), jnp.asarray(weight) if weighted else None)
        state, record = epoch.run_epoch(state, given, valid, plan=plan)
        same, expected = epoch.run_epoch(same, by_hand, None, plan=plain)
        np.testing.assert_allclose(state.trained.params[0], same.trained.params[0], rtol=1e-9)
        np.testing.assert_allclose(record.train_loss, expected.train_loss, rtol=1e-9)
        # The held-out loss is trimmed alike, under the parameters after the steps.
        losses = 2 * ((held_out - np.asarray(state.trained.judged[0])) ** 2).sum(axis=1)
        order = np.argsort(-losses)
        kept = order[np.cumsum(counts[order]) > 0.2 * counts.sum()]
        mean = np.average(losses[kept], weights=counts[kept])
        np.testing.assert_allclose(record.valid_loss, mean, rtol=1e-9)
    assert left_out[0] - left_out[-1]  # rows come back


def test_more_rows_than_are_scored_at_once(monkeypatch):
    whole = fitted(Location(), rows(), rows(50, seed=1))
    monkeypatch.setattr("jaxflow.training.engine.trim.SCORED_ROWS", 24)
    jax.clear_caches()
    parts = fitted(Location(), rows(), rows(50, seed=1))
    jax.clear_caches()
    np.testing.assert_allclose(parts.history.column("valid_loss"), whole.history.column("valid_loss"), rtol=1e-9)
    np.testing.assert_allclose(parts.model.point[...], whole.model.point[...], rtol=1e-9)


def test_no_share_is_the_untrimmed_fit_and_another_share_compiles_nothing(compilations):
    x, valid = rows(), rows(50, seed=1)
    plain = fitted(Location(), x, valid, trim=0.0).history
    first = fitted(Location(), x, valid).history
    with compilations() as programs:
        none = fitted(Location(), x, valid, trim=1e-9).history  # not one row
        more = fitted(Location(), x, valid, trim=0.4).history
    assert not programs
    for name in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(none.column(name), plain.column(name), rtol=1e-9)
        assert more.column(name)[-1] < first.column(name)[-1] < plain.column(name)[-1]


def test_a_row_that_is_left_out_ruins_no_step():
    x = rows()
    x[7] = 1000.0
    result = fitted(Location(), x, rows(50, seed=1))
    assert result.history.column("skipped_steps") == [0] * 4
    assert np.isfinite(result.model.point[...]).all()


def test_statistics_of_a_batch_are_those_of_rows_that_count():
    x = rows()
    x[::10] += 1e6
    model = MAF(layers=1, hidden=(8,), normalization="batch_norm").build(2, rngs=nnx.Rngs(0))
    plan, state = epoch.start(model, SPEC, 64, KEY)
    state, record = epoch.run_epoch(state, Batch(jnp.asarray(x)), None, plan=plan)
    assert float(record.train_loss) < 10
    # Those that stay with the model are of the rows that counted, too.
    variances = [np.asarray(leaf).max() for leaf in jax.tree.leaves(state.trained.buffers) if leaf.shape == (2,)]
    assert max(variances) < 100


def test_copies_of_rows_that_count_stand_in_with_their_context():
    x, context = rows(), np.arange(64.0)[:, None]
    x[:, 0] += context[:, 0]
    model = MAF(layers=1, hidden=(8,), context_dim=1).build(2, rngs=nnx.Rngs(0))
    plan, state = epoch.start(model, SPEC, 64, KEY)
    order = jax.random.permutation(KEY, 64)
    given = Batch(jnp.asarray(x), None, jnp.asarray(context))
    batch = jax.jit(lambda state: trimmed(state.trained, given, jnp.asarray(0.2), order, plan))(state)
    kept = np.asarray(batch.weight) > 0
    assert np.sum(~kept) == 12
    place = np.asarray(batch.context)[:, 0].astype(int)
    np.testing.assert_array_equal(batch.x, x[place])
    np.testing.assert_array_equal(place[kept], np.flatnonzero(kept))
    assert kept[place].all()  # no row that does not count is seen


def test_each_member_leaves_out_its_own_rows():
    # All members are alike but see other rows, of which others are far away.
    x = np.stack([rows(), rows()])
    x[0, :6] += 50.0
    x[1, -6:] -= 50.0
    three = EnsembleSpec(member=FLOW, members=2).build(2, rngs=nnx.Rngs(0))
    assert isinstance(three, Ensemble)
    graph, state = nnx.split(three.member)
    three.member = nnx.merge(graph, jax.tree.map(lambda array: jnp.broadcast_to(array[:1], array.shape), state))
    members = fitted(three, x, rows(50, seed=1), batch_size=64).history.members
    for index, member in enumerate(members):
        alone = EnsembleSpec(member=FLOW, members=1).build(2, rngs=nnx.Rngs(0))
        alone.member = nnx.merge(graph, jax.tree.map(lambda array: array[:1], state))
        lonely = fitted(alone, x[index], rows(50, seed=1), batch_size=64).history
        np.testing.assert_allclose(member.column("valid_loss"), lonely.column("valid_loss"), rtol=1e-9)
        assert max(member.column("train_loss")) < 10


@pytest.mark.parametrize("trim", [-0.1, 0.5])
def test_a_share_of_half_the_rows_or_less_than_none_is_refused(trim):
    with pytest.raises(InputError, match="trim = "):
        parse_spec(FitSpec, {"trim": trim}, "here")


CLEAN = np.random.default_rng(10).normal(size=(1200, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])


def contaminated(share: float) -> np.ndarray:
    """600 rows of which `share` lie in a cloud outside; the rest are clean."""
    x, count = CLEAN[:600].copy(), round(600 * share)
    where = np.random.default_rng(11).permutation(600)[:count]
    x[where] = np.random.default_rng(12).normal([-3.0, 3.0], 0.3, size=(count, 2))
    return x


@pytest.mark.parametrize(
    ("model", "little"),
    [(NSF(layers=2, hidden=(16,)), 0.3), (AutoEncoderSpec(hidden=(16,), latent=1), 0.02)],
    ids=["flow", "autoencoder"],
)
def test_a_tenth_of_outliers_does_little_to_a_trimmed_fit(model, little):
    spec = FitSpec(epochs=25, batch_size=64, learning_rate=3e-2, patience=None)
    test, outliers = CLEAN[600:], np.random.default_rng(13).normal([-3.0, 3.0], 0.3, size=(100, 2))

    def loss_and_found(share, trim):
        x = contaminated(share)
        result = fitted(model.build(2, rngs=nnx.Rngs(0)), x[60:], x[:60], spec, trim=trim)
        score = jax.jit(result.model.score)
        normal, other = np.asarray(score(jnp.asarray(test))), np.asarray(score(jnp.asarray(outliers)))
        return normal.mean(), np.mean(normal[:, None] < other)  # the area under the ROC curve

    loss, _ = loss_and_found(0.0, 0.0)
    _, plain_found = loss_and_found(0.1, 0.0)
    assert plain_found < 0.9
    for share in (0.1, 0.0):  # what it costs where there are none is little, too
        trimmed_loss, trimmed_found = loss_and_found(share, 0.15)
        assert trimmed_found > 0.99
        assert trimmed_loss < loss + little
