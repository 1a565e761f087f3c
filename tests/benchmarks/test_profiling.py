"""What a profile says, against programs and traces whose answer is known."""

import jax
import jax.numpy as jnp
import pytest
from hlo import operations
from profiling import Span, shares, summary

HLO = """\
HloModule jit__advance, is_scheduled=true

FunctionNames
1 "_advance.<locals>.body"
2 "symlog"

FileLocations
1 {file_name_id=1 function_name_id=1 line=3 end_line=3 column=1 end_column=2}
2 {file_name_id=1 function_name_id=2 line=9 end_line=9 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=1}

%inside (p.1: f32[8,3], p.2: f32[8,5]) -> f32[3,5] {
  %p.1 = f32[8,3]{1,0} parameter(0)
  %p.2 = f32[8,5]{1,0} parameter(1)
  ROOT %dot.1 = f32[3,5]{1,0} dot(%p.1, %p.2), lhs_contracting_dims={0}, rhs_contracting_dims={0}, metadata={op_name="jit(_advance)/while/body/transpose(jvp(vmap(Prior)))/layer0/dot_general" stack_frame_id=1}
}

ENTRY %main (p.3: f32[8,3]) -> f32[8,3] {
  %p.3 = f32[8,3]{1,0} parameter(0)
  %fusion.1 = f32[3,5]{1,0} fusion(%p.3, %p.4), kind=kCustom, calls=%inside
  %log.1 = f32[8,3]{1,0} log(%p.3), metadata={op_name="jit(_advance)/while/body/jvp()/while/body/closed_call/log" stack_frame_id=2}
  %mul.1 = f32[8,3]{1,0} multiply(%p.3, %p.3), metadata={op_name="jit(_advance)/while/body/mul" stack_frame_id=1}
  %copy.1 = f32[8,3]{0,1} copy(%p.3)
  %while.1 = (s32[], f32[8,3]{1,0}) while(%tuple.1), condition=%a, body=%b
}
"""  # noqa: E501


def test_operations_of_a_program():
    found = operations(HLO)
    dot, log, mul = found["fusion.1"], found["log.1"], found["mul.1"]
    assert (dot.kind, dot.part, dot.way) == ("matrix product", "Prior", "backward")
    assert dot.flop == 2 * 8 * 3 * 5 and dot.shape == "f32[3,5]" and not dot.looped
    assert dot.op_name == "transpose(jvp(vmap(Prior)))/layer0/dot_general"
    assert (log.kind, log.part, log.way) == ("element by element", "symlog", "forward")
    assert log.looped
    assert (mul.part, mul.way) == ("optimizer and metrics", "")
    assert (found["copy.1"].kind, found["copy.1"].part) == ("moving data", "unnamed")
    assert "while.1" not in found  # it lasts as long as what is in it


def test_the_products_of_a_compiled_program_are_found():
    a, b = jnp.ones((32, 48)), jnp.ones((48, 64))
    text = jax.jit(lambda a, b: jnp.tanh(a @ b)).lower(a, b).compile().as_text()
    assert sum(op.flop for op in operations(text).values() if "dot" not in op.kind) > 0
    products = [op for op in operations(text).values() if op.flop]
    assert {op.flop for op in products} == {2 * 32 * 48 * 64}
    assert {op.kind for op in products} == {"matrix product"}


def test_every_moment_is_shared_by_what_runs_in_it():
    spans = [
        Span("a", 0, 4),
        Span("b", 2, 6),
        Span("a", 3, 4),
        Span("c", 8, 9),
        Span("nothing", 5, 5),
    ]
    # 0-2 a; 2-3 a and b; 3-4 two of a and b; 4-6 b; 8-9 c
    expected = {"a": 2 + 1 / 2 + 2 / 3, "b": 1 / 2 + 1 / 3 + 2, "c": 1}
    assert shares(spans) == pytest.approx(expected)


def test_a_summary_adds_up():
    spans = [Span("fusion.1", 0, 3), Span("log.1", 3, 4), Span("strange", 4, 4.5)]
    found = summary(spans, operations(HLO))
    assert found["busy_seconds"] == pytest.approx(4.5)
    assert found["kinds"] == pytest.approx(
        {"matrix product": 3, "element by element": 1, "unnamed": 0.5}
    )
    assert [part["part"] for part in found["parts"]] == ["Prior", "symlog", "unnamed"]
    longest = found["operations"][0]
    assert longest["name"] == "fusion.1" and longest["calls"] == 1
    assert longest["seconds"] == pytest.approx(3)
