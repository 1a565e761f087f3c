"""What a program says about its arrays' places, read from the traced program."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec, use_abstract_mesh

from dreamer_leq.nn.parallel import divided, everywhere

MESH = AbstractMesh((4,), ("data",), axis_types=(AxisType.Auto,))


def said(function, *shapes):
    """The places that `function` asks for on a mesh of four, by shape."""
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    with use_abstract_mesh(MESH):
        program = jax.make_jaxpr(lambda *arrays: function(arrays))(*arrays)
    return {
        equation.invars[0].aval.shape: equation.params["sharding"].spec
        for equation in program.eqns
    }


def test_an_axis_is_divided():
    assert said(divided, (8, 3)) == {(8, 3): PartitionSpec("data")}
    along_second = said(lambda x: divided(x, axis=1), (3, 8))
    assert along_second == {(3, 8): PartitionSpec(None, "data")}


@pytest.mark.parametrize("shape", [(6, 3), (2,), ()])
def test_what_has_no_equal_parts_stays(shape):
    assert said(divided, shape, (4,)) == {(4,): PartitionSpec("data")}


def test_a_padded_axis_is_divided_anyway():
    asked = said(lambda x: divided(x, padded=True), (6, 3), ())
    assert asked == {(6, 3): PartitionSpec("data")}


def test_everywhere_is_whole():
    asked = said(everywhere, (8, 3), ())
    assert asked == {(8, 3): PartitionSpec(), (): PartitionSpec()}


def test_without_a_mesh_nothing_is_said():
    tree = {"a": jnp.ones(4)}
    assert divided(tree) is tree and everywhere(tree) is tree
