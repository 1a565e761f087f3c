"""Checkpoints: bit for bit, complete or not there, and clear when they don't fit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dreamer_leq
from dreamer_leq import UserError
from dreamer_leq.system.files import FORMAT
from dreamer_leq.training.checkpoints import Checkpoints

DEVICE = jax.devices()[0]


@flax.struct.dataclass
class TrainState:
    step: jax.Array
    params: dict
    optimizer: optax.OptState
    key: jax.Array
    member_keys: jax.Array
    unused: tuple = ()


def make_state(seed=0, width=4, dtype=jnp.float32):
    key = jax.random.key(seed)
    kernel = jax.random.normal(key, (3, width)).astype(dtype)
    params = {"dense": {"kernel": kernel, "bias": jnp.ones(width, jnp.bfloat16) / 3}}
    chain = optax.chain(optax.clip(1.0), optax.scale_by_adam(), optax.identity())
    keys = jax.random.split(jax.random.key(seed, impl="rbg"), 7)
    return TrainState(jnp.int32(seed), params, chain.init(params), key, keys)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def checkpoints(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        yield checkpoints


@pytest.mark.parametrize("abstract", [lambda s: s, lambda s: jax.eval_shape(lambda: s)])
def test_a_state_comes_back_bit_for_bit(checkpoints, abstract):
    state, extra = make_state(3), {"third": 1 / 3, "names": ["a"]}
    checkpoints.save("leq", 10, state, extra)
    restored, found = checkpoints.restore("leq", abstract(state))
    assert_same(restored, state)
    assert found == extra
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(restored))
    # the keys are keys, of the same generator
    draw, again = (jax.random.normal(s.member_keys[2]) for s in (state, restored))
    assert draw == again
    # and the state can be given away, as the training loop does
    doubled = jax.jit(lambda p: jax.tree.map(lambda x: 2 * x, p), donate_argnums=0)(
        restored.params
    )
    assert_same(doubled, jax.tree.map(lambda x: 2 * x, state.params))


@pytest.mark.parametrize("place", [lambda s: s, lambda s: jax.device_put(s, DEVICE)])
def test_it_is_bound_to_a_device_only_where_the_state_is(checkpoints, place):
    """Else what is compiled for the state is compiled again for what comes back."""
    state = place(make_state())
    checkpoints.save("leq", 10, state)
    restored, _ = checkpoints.restore("leq", state)
    bound = [x.committed for x in jax.tree.leaves(restored)]
    assert bound == [x.committed for x in jax.tree.leaves(state)]


def test_the_last_ones_of_each_phase_are_kept(checkpoints):
    for step in (1, 2, 3):
        checkpoints.save("leq", step, make_state(step))
    checkpoints.save("bc", 1, make_state(9))
    assert checkpoints.steps("leq") == [2, 3] and checkpoints.latest("leq") == 3
    assert checkpoints.latest("bc") == 1 and checkpoints.latest("fqe") is None
    for step in (2, 3):
        state, extra = checkpoints.restore("leq", make_state(), step=step)
        assert_same(state, make_state(step))
        assert extra == {}


def test_without_a_model_it_gives_numpy_in_dicts(checkpoints):
    state = make_state(1)
    checkpoints.save("leq", 1, state)
    restored, _ = checkpoints.restore("leq")
    assert set(restored) == {
        "step",
        "params",
        "optimizer",
        "key",
        "member_keys",
        "unused",
    }
    kernel = restored["params"]["dense"]["kernel"]
    assert type(kernel) is np.ndarray
    np.testing.assert_array_equal(kernel, state.params["dense"]["kernel"])
    np.testing.assert_array_equal(restored["key"], jax.random.key_data(state.key))


def test_a_field_can_be_read_alone(checkpoints):
    state = make_state(1)
    checkpoints.save("leq", 1, state, {"x": 1})
    params, extra = checkpoints.restore("leq", state.params, subtree="params")
    assert_same(params, state.params)
    assert extra == {"x": 1}
    params, _ = checkpoints.restore("leq", subtree="params")
    np.testing.assert_array_equal(
        params["dense"]["kernel"], state.params["dense"]["kernel"]
    )
    with pytest.raises(UserError, match="lacks parameters"):
        checkpoints.restore("leq", subtree="parameters")


def renamed():
    state = make_state()
    return state.replace(
        params={"dense": state.params["dense"] | {"scale": jnp.ones(4)}}
    )


def shortened():
    state = make_state()
    return state.replace(params={"dense": {"kernel": state.params["dense"]["kernel"]}})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: make_state(width=5),
            r"has params\.dense\.bias bfloat16\[4\], the model bfloat16\[5\] \(5 more",
        ),
        (
            lambda: make_state(dtype=jnp.float16),
            r"has params\.dense\.kernel float32\[3, 4\], the model float16\[3, 4\]",
        ),
        (renamed, r"lacks params\.dense\.scale;"),
        (shortened, r"has params\.dense\.bias, which the model lacks;"),
        (
            lambda: make_state().replace(key=jax.random.key(0, impl="rbg")),
            r"has key uint32\[2\], the model uint32\[4\];",
        ),
    ],
)
def test_another_model_is_one_clear_line(checkpoints, model, message):
    checkpoints.save("leq", 7, make_state())
    with pytest.raises(UserError, match=message) as caught:
        checkpoints.restore("leq", model())
    assert "\n" not in str(caught.value) and str(Path("leq", "7")) in str(caught.value)


def test_what_is_not_there_is_named(checkpoints):
    with pytest.raises(UserError, match="no checkpoint of phase 'leq'"):
        checkpoints.restore("leq", make_state())
    checkpoints.save("leq", 4, make_state())
    with pytest.raises(UserError, match=r"no checkpoint of step 5 in .*; there are 4"):
        checkpoints.restore("leq", make_state(), step=5)


# tensorstore's other reads end after the first has failed and nobody waits for them
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_damaged_checkpoint_is_one_clear_line(checkpoints, tmp_path, damage, caplog):
    checkpoints.save("leq", 4, make_state())
    step = tmp_path / "checkpoints" / "leq" / "4"
    state = step / "state"
    if damage == "cut":
        for path in state.rglob("d/*"):
            os.truncate(path, path.stat().st_size // 2)
    else:
        shutil.rmtree(state)
        (step / "_CHECKPOINT_METADATA").unlink()
    with pytest.raises(UserError, match="can't be read, delete it") as caught:
        checkpoints.restore("leq", make_state())
    assert "\n" not in str(caught.value)
    assert "absl" not in {record.name for record in caplog.records}  # orbax is quiet


def test_what_is_no_step_is_none(checkpoints, tmp_path):
    checkpoints.save("leq", 4, make_state())
    folder = tmp_path / "checkpoints" / "leq"
    for name in ("²", "007", "-3", "9" * 30):
        (folder / name).mkdir()
    (folder / "9").touch()
    assert checkpoints.steps("leq") == [4]


def test_nothing_is_read_that_declares_to_be_another(checkpoints, monkeypatch):
    checkpoints.save("leq", 4, make_state(width=5))
    read = []
    monkeypatch.setattr(
        "orbax.checkpoint.Checkpointer.restore", lambda *args, **kw: read.append(1)
    )
    with pytest.raises(UserError, match="is of another model"):
        checkpoints.restore("leq", make_state())
    assert not read


def test_a_pipe_in_a_checkpoint_is_not_waited_for(tmp_path):
    with Checkpoints(tmp_path) as writer:
        writer.save("leq", 4, make_state())
    os.mkfifo(tmp_path / "leq" / "4" / "state" / "pipe")
    with pytest.raises(UserError, match="pipe is not a file"):
        Checkpoints(tmp_path).restore("leq", make_state())


def test_a_step_is_saved_once(checkpoints):
    checkpoints.save("leq", 4, make_state(1))
    checkpoints.save("leq", 4, make_state(2))
    assert_same(checkpoints.restore("leq", make_state())[0], make_state(1))
    with pytest.raises(ValueError, match="checkpoint of 4, after 3"):
        checkpoints.save("leq", 3, make_state())


def test_half_written_folders_do_not_count_and_readers_leave_them(tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as writer:
        writer.save("leq", 1, make_state(1))
    half = folder / "leq" / "3.orbax-checkpoint-tmp"
    shutil.copytree(folder / "leq" / "1", half)
    shutil.rmtree(half / "state" / "d")
    reader = Checkpoints(folder)
    assert reader.latest("leq") == 1
    assert_same(reader.restore("leq", make_state())[0], make_state(1))
    assert half.exists()
    with Checkpoints(folder) as writer:  # the run goes on
        writer.save("leq", 2, make_state(2))
    assert not half.exists()
    assert sorted(p.name for p in (folder / "leq").iterdir()) == ["1", "2"]


def test_a_half_deleted_old_checkpoint_is_no_obstacle(tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, keep=2) as writer:
        writer.save("leq", 1, make_state(1))
        writer.save("leq", 2, make_state(2))
    (folder / "leq" / "1" / "_CHECKPOINT_METADATA").unlink()
    shutil.rmtree(folder / "leq" / "1" / "state")
    with Checkpoints(folder, keep=2) as writer:
        writer.save("leq", 3, make_state(3))
        assert writer.steps("leq") == [2, 3]


def test_orbax_is_quiet(checkpoints, tmp_path, capfd, caplog, recwarn):
    checkpoints.save("leq", 1, make_state())
    checkpoints.save("leq", 2, make_state())
    checkpoints.restore("leq", make_state())
    Checkpoints(tmp_path / "checkpoints").restore("leq", subtree="params")
    checkpoints.wait()
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert "absl" not in {record.name for record in caplog.records}


# Saves states filled with the number of their step, on the second of two devices, from
# the step after the last one there is, and says so. With "before" it dies when step 2
# is written but for the last renaming.
CHILD = """
import os, signal, sys
import jax, jax.numpy as jnp
from dreamer_leq.system.files import FORMAT
from dreamer_leq.training.checkpoints import Checkpoints

def state(step):
    value = jnp.full(400_000, step, jnp.float32)
    return jax.device_put({"a": value, "b": [value, value]}, jax.devices()[1])

def kill_before_renaming(event, arguments):
    if event == "os.rename" and "2.orbax-checkpoint-tmp" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

checkpoints = Checkpoints(sys.argv[1], keep=2)
if sys.argv[2] == "before":
    sys.addaudithook(kill_before_renaming)
step = checkpoints.latest("leq") or 0
while True:
    step += 1
    checkpoints.save("leq", step, state(step), {"step": step})
    print(step, flush=True)
"""


def start_child(folder, when):
    root = Path(dreamer_leq.__file__).parents[1]
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, "-c", CHILD, str(folder), when]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def assert_complete(checkpoints, step):
    """The checkpoint of `step` holds that step throughout, on a device of ours."""
    value = jax.ShapeDtypeStruct((400_000,), jnp.float32)
    model = {"a": value, "b": [value, value]}
    state, extra = checkpoints.restore("leq", model, step=step)
    assert extra == {"step": step}
    for leaf in jax.tree.leaves(state):
        assert leaf.devices() <= set(jax.devices())
        assert (leaf == step).all()


def test_killed_while_saving_it_leaves_complete_checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for delay in (0.0, 0.013):
        with start_child(tmp_path, "anywhere") as child:
            said = [int(child.stdout.readline()) for _ in range(3)]
            time.sleep(delay)  # anywhere in the next save
            child.send_signal(signal.SIGKILL)
            said += [int(line) for line in child.stdout]
        latest = checkpoints.latest("leq")
        assert latest >= said[-1]
        assert_complete(checkpoints, latest)


def test_killed_before_the_last_step_of_saving_it_leaves_the_old_one(tmp_path):
    with start_child(tmp_path, "before") as child:
        said = child.stdout.read()
    assert (child.returncode, said) == (-signal.SIGKILL, "1\n")
    assert [p.name for p in (tmp_path / "leq").iterdir() if "tmp" in p.name]
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps("leq") == [1]
    assert_complete(checkpoints, 1)


# --- versions


def test_a_checkpoint_of_a_later_version_is_refused(checkpoints, monkeypatch):
    monkeypatch.setattr("dreamer_leq.training.checkpoints.FORMAT", FORMAT + 1)
    checkpoints.save("leq", 3, {"weights": jnp.ones(2)})
    with pytest.raises(UserError, match=rf"leq/3 is of format {FORMAT + 1}, .* update"):
        checkpoints.restore("leq")


def test_a_checkpoint_without_a_version_is_read(checkpoints):
    checkpoints.save("leq", 3, {"weights": jnp.ones(2)}, {"totals": {}})
    (file,) = checkpoints._folder.glob("leq/3/extra/metadata")
    extra = json.loads(file.read_text())
    assert extra.pop("format") == FORMAT
    file.write_text(json.dumps(extra))
    assert checkpoints.restore("leq")[1] == {"totals": {}}
