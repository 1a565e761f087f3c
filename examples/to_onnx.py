"""A run's policy as an ONNX file, by jax2onnx.

    python examples/to_onnx.py ./shared-run policy.onnx

jax2onnx needs an older orbax than training does, so this wants an environment of its
own, and a run that was shared: docs/share-and-export.md says which packages.

The file takes `image` uint8 [B, S, S, 3] or `vector` float32 [B, D], and `is_first`
bool [B], and gives `action` float32 [B, A]. Policies that remember take what came back
as `next_NAME` as `memory_NAME`, zeros at first. On a world model's latents they take
`noise` [B, S, C], too: zeros for the likeliest latents, which runs with
`encoding.act_on mode` act on, or numbers of Gumbel's distribution, to draw them as the
others do.
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dreamer_leq.run.folder import RunFolder
from dreamer_leq.world_models.latent import LatentWorldModel
from dreamer_leq.world_models.vectors import VectorStates

Shapes = dict[str, jax.ShapeDtypeStruct]


def policy_of(run: RunFolder) -> tuple[Callable, Shapes, list[str]]:
    """The policy as a function of arrays, their shapes [B, ...] by name, and the names
    of its outputs.
    """
    agent, spec = run.load_agent(), run.facts.observation
    world = agent.world_model
    image, vector = (spec.image_size, spec.image_size, 3), (spec.vector_size,)
    known = {"image": (image, jnp.uint8), "vector": (vector, jnp.float32)}
    seen = {name: known[name] for name in world.observations}
    seen["is_first"] = ((), jnp.bool_)
    remembered = jax.eval_shape(lambda: world.pack(world.initial(1)))
    remembered = {k: (x.shape[1:], x.dtype) for k, x in remembered.items()}
    if isinstance(world, VectorStates):
        remembered = {}
    taken = {f"memory_{name}": kind for name, kind in remembered.items()}
    if latents := isinstance(world, LatentWorldModel):
        rssm = world.net.rssm
        taken["memory_action"] = ((spec.action_size,), jnp.float32)
        taken["noise"] = ((rssm.stoch, rssm.classes), jnp.float32)

    def policy(*arrays: jax.Array) -> list[jax.Array]:
        given = dict(zip([*seen, *taken], arrays, strict=True))
        batch = {name: given[name] for name in seen}
        memory = {name: given[f"memory_{name}"] for name in remembered}
        before = world.starts(memory) if memory else None
        if latents:
            batch["action"] = given["memory_action"]
            state = world.filter_given(before, batch, given["noise"])
        else:
            state = world.filter(before, batch, None)
        action, packed = agent.policy(world.features(state)), world.pack(state)
        return [action, *(packed[name] for name in remembered)]

    (length,) = jax.export.symbolic_shape("B")
    inputs = {
        name: jax.ShapeDtypeStruct((length, *shape), dtype)
        for name, (shape, dtype) in (seen | taken).items()
    }
    return policy, inputs, ["action", *(f"next_{name}" for name in remembered)]


def write_onnx(run: RunFolder, file: str) -> None:
    """Writes the policy of a run."""
    import jax2onnx

    policy, inputs, outputs = policy_of(run)
    how = dict(input_names=list(inputs), output_names=outputs)
    where = dict(return_mode="file", output_path=file)
    jax2onnx.to_onnx(policy, list(inputs.values()), **how, **where)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="folder of a shared run, or hf://USER/NAME")
    parser.add_argument("file", help="the ONNX file to write")
    options = parser.parse_args()
    write_onnx(RunFolder(options.run), options.file)
