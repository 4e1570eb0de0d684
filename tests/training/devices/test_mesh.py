"""Eight devices give what one gives."""

import json
import subprocess
import sys
import textwrap

import jax
import pytest
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.models import MAF, EnsembleSpec, Gaussian
from jaxflow.training import fit, make_mesh
from jaxflow.training.devices.mesh import mesh_for
from tests.compiled import with_devices

# The number of devices is fixed when JAX starts, so all fits are made in a process of their own.
PROGRAM = """
    import json
    import jax, jax.numpy as jnp, numpy as np
    from flax import nnx
    from jaxflow.models import MAF
    from jaxflow.training import Batch, FitSpec, fit, fit_ensemble, make_mesh
    from jaxflow.training.engine import epoch
    from jaxflow.training.many import ensemble

    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    rows = rng.normal(1.0, 2.0, size=(4, 90, 2))
    weight = rng.uniform(0.5, 1.5, size=90)
    member = MAF(layers=2, hidden=(8,), normalization="act_norm")
    spec = FitSpec(epochs=4, batch_size=32, learning_rate=1e-2, input_noise=0.1, patience=None)
    key = jax.random.key(0)
    seen = {}

    def summary(result):
        points = jnp.asarray(rows[0, :5])
        devices = {device for leaf in jax.tree.leaves(nnx.state(result.model)) for device in leaf.devices()}
        return {
            "losses": result.history.column("valid_loss"),
            "scores": np.asarray(result.model.score(points)).tolist(),
            "devices": len(devices),
        }

    def one(mesh, member=member):
        model = member.build(2, rngs=nnx.Rngs(0))
        return summary(fit(model, Batch(rows[0], weight), rows[1], spec, key=key, mesh=mesh))

    def trim(mesh):
        model, trims = member.build(2, rngs=nnx.Rngs(0)), spec.model_copy(update={"trim": 0.1})
        return summary(fit(model, Batch(rows[0], weight), rows[1], trims, key=key, mesh=mesh))

    def four(mesh, data=rows[0], **changes):
        how = {"fit_spec": spec.model_copy(update=changes), "bootstrap": True, "mesh": mesh}
        return summary(fit_ensemble(member, data, 4, key, valid=rows[1], **how))

    batch_norm = MAF(layers=2, hidden=(8,), normalization="batch_norm")
    results = {
        "one": one(None),
        "one, data 8": one(make_mesh()),
        "one, data 3": one(make_mesh(3)),
        "batch norm": one(None, batch_norm),
        "batch norm, data 4": one(make_mesh(4), batch_norm),
        "four": four(None),
        "four, data 8": four(make_mesh()),
        "four, member 4": four(make_mesh(1, 4)),
        "four, data 2, member 4": four(make_mesh(member=4)),
        "trimmed": trim(None),
        "trimmed, data 3": trim(make_mesh(3)),
        "four trimmed": four(None, trim=0.1),
        "four trimmed, data 2, member 4": four(make_mesh(member=4), trim=0.1),
        "folds": four(None, rows),
        "folds, data 2, member 2": four(make_mesh(2, 2), rows),
    }

    # Whether the work was divided at all, and not done eight times over.
    mesh = make_mesh(4)
    plan, state = epoch.start(member.build(2, rngs=nnx.Rngs(0)), spec, 90, key, mesh)
    program = epoch.run_epoch.lower(state, Batch(jnp.asarray(rows[0])), None, plan=plan).compile().as_text()
    results["sums over devices"] = program.count("all-reduce")
    results["a quarter of a batch"] = program.count("f64[8,2]")
    run_epoch = ensemble.advance_members
    specs = set()

    def watched(states, *arguments, **options):
        states, records = run_epoch(states, *arguments, **options)
        specs.add(str(states.trained.params[0].sharding.spec))
        return states, records

    ensemble.advance_members = watched
    four(make_mesh(2, 4))
    results["members are at"] = sorted(specs)
    print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results():
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    done = subprocess.run(command, env=with_devices(8), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("divided", "whole"),
    [
        ("one, data 8", "one"),
        ("one, data 3", "one"),  # batches of 32 and a last one of 26 rows, in three parts
        ("batch norm, data 4", "batch norm"),
        ("trimmed, data 3", "trimmed"),
        ("four trimmed, data 2, member 4", "four trimmed"),
        ("four, data 8", "four"),
        ("four, member 4", "four"),
        ("four, data 2, member 4", "four"),
        ("folds, data 2, member 2", "folds"),
    ],
)
def test_equals_one_device(results, divided, whole):
    assert results[divided]["losses"] == pytest.approx(results[whole]["losses"], rel=1e-9)
    assert results[divided]["scores"] == pytest.approx(results[whole]["scores"], rel=1e-9)
    assert results[divided]["devices"] == 1  # the result lies on the first


@pytest.mark.end_to_end
def test_batches_and_members_are_divided(results):
    assert results["sums over devices"] > 0
    assert results["a quarter of a batch"] > 0
    assert all("member" in spec for spec in results["members are at"])


def test_too_many_devices_are_refused():
    with pytest.raises(InputError, match=r"a mesh of data = 99 and member = 1 does not fit \d+ devices"):
        make_mesh(99)
    with pytest.raises(InputError, match="a mesh of data = 0 and member = 1 does not fit"):
        make_mesh(0)
    model = MAF(layers=1, hidden=(4,)).build(2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"devices = 99: expected between 1 and \d+, or -1 for all of them"):
        mesh_for(model, 99)


def test_one_device_needs_no_mesh():
    assert mesh_for(MAF(layers=1, hidden=(4,)).build(2, rngs=nnx.Rngs(0)), 1) is None


def test_a_mesh_that_does_not_suit_is_refused():
    rows = jax.numpy.zeros((10, 2))
    model = EnsembleSpec(member=MAF(layers=1, hidden=(4,)), members=2).build(2, rngs=nnx.Rngs(0))
    wrong = jax.make_mesh((1,), ("rows",))
    with pytest.raises(InputError, match=r"the mesh has the axes \('rows',\), expected \('data', 'member'\)"):
        fit(model, rows, key=jax.random.key(0), mesh=wrong)
    with pytest.raises(InputError, match="Gaussian fits itself, on one device, and takes no mesh"):
        fit(Gaussian(2), rows, key=jax.random.key(0), mesh=make_mesh(1))
