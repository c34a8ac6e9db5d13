"""Bytes that a program moves, counted in its text."""

from lfm_jax.training.traffic import Instruction, estimated_cycles, instructions, size_of

PROGRAM = """HloModule step

%inside (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %square = f32[8]{0} multiply(%a, %a)
}

ENTRY %main (x: bf16[4,8], y: f32[8]) -> (f32[8], bf16[4,8]) {
  %x = bf16[4,8]{1,0:T(8,128)} parameter(0)
  %y = f32[8]{0} parameter(1)
  %fusion.1 = f32[8]{0} fusion(%y), kind=kLoop, calls=%inside, metadata={op_name="jit(step)/square"}
  %conv = (bf16[4,8]{1,0}, /*index=1*/u8[16]{0}) custom-call(%x, %fusion.1), custom_call_target="__cudnn$convForward"
  %first = bf16[4,8]{1,0} get-tuple-element(%conv), index=0
  ROOT %out = (f32[8]{0}, bf16[4,8]{1,0}) tuple(%fusion.1, %first)
}
"""


def test_what_an_instruction_reads_and_writes_is_counted_the_largest_first():
    assert instructions(PROGRAM) == [
        Instruction("__cudnn$convForward", (64 + 16) + 64 + 32, ""),
        Instruction("fusion", 32 + 32, "jit(step)/square"),
    ]


def test_inside_a_fusion_nothing_is_counted():
    assert all(instruction.kind != "multiply" for instruction in instructions(PROGRAM))


def test_sizes_of_shapes():
    assert size_of("f32[2,3]") == 24
    assert size_of("(bf16[10], pred[4], token[])") == 24
    assert size_of("f32[]") == 4


def test_a_program_that_cannot_be_printed_has_no_instructions():
    assert instructions("") == []


def test_cycles_that_the_tpu_compiler_expects_are_added_up():
    text = '%a = f32[] fusion(), backend_config={"estimated_cycles":"1200"}\n%b = f32[] copy(), {"x":1,"estimated_cycles":"34"}'
    assert estimated_cycles(text) == 1234
    assert estimated_cycles(PROGRAM) == 0
