"""Why something failed, in one line: of a traceback, of an error's text, of what was printed."""

from __future__ import annotations

from ray.exceptions import RayError

from actors.faults import last_frame, reason, told
from actors.printed import Printed


def test_the_last_frame_is_not_rays_and_its_path_is_that_of_its_package():
    own = '  File "/somewhere/ttc/actors/engine.py", line 118, in engine_options\n'
    vllm = '  File "/v/lib/python3.13/site-packages/vllm/config/model.py", line 7, in check\n'
    ray = '  File "/v/lib/python3.13/site-packages/ray/worker.py", line 9, in get\n'
    assert last_frame(own + ray) == "actors/engine.py:118 in engine_options"
    assert last_frame(own + vllm + ray) == "vllm/config/model.py:7 in check"
    assert last_frame("no traceback") == ""


PYDANTIC = """ValidationError: 2 validation errors for SchedulerConfig
max_num_seqs
  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]
    For further information visit https://errors.pydantic.dev/2.12/v/greater_than_equal
policy
  Value error, no such policy [type=value_error, input_value='no', input_type=str]
    For further information visit https://errors.pydantic.dev/2.12/v/value_error"""

PARALLEL = """pydantic_core._pydantic_core.ValidationError: 1 validation error for ParallelConfig
  Value error, World size (2) is larger than the number of available GPUs (1) in this node. If this is \
intentional and you are using:
- ray, set '--distributed-executor-backend ray'.
- multiprocessing, set '--nnodes' appropriately. [type=value_error, input_value=ArgsKwargs(()), \
input_type=ArgsKwargs]"""


def test_each_field_that_pydantic_refuses_is_told_with_its_reason_and_no_header():
    expected = (
        "SchedulerConfig.max_num_seqs: Input should be greater than or equal to 1 (it is 0); "
        "SchedulerConfig.policy: no such policy (it is 'no')"
    )
    assert told(PYDANTIC.splitlines()) == expected
    assert reason(RayError(f"The actor died\n  File x\n{PYDANTIC}")) == expected
    whole = "1 validation error for ModelConfig\n  Value error, too long [type=value_error, input_value="
    whole = f"{whole}{'x' * 99}, input_type=ArgsKwargs]"
    assert told(whole.splitlines()) == "ModelConfig: too long"
    assert told(["ValueError: one line", "another"]) == "ValueError: one line"


def test_a_refusal_of_several_lines_is_told_whole():
    assert reason(RayError(f"The actor died\n  File x\n{PARALLEL}")) == (
        "ParallelConfig: World size (2) is larger than the number of available GPUs (1) in this node. If "
        "this is intentional and you are using: - ray, set '--distributed-executor-backend ray'. "
        "- multiprocessing, set '--nnodes' appropriately."
    )


def test_what_tells_something_is_taken_of_what_was_printed():
    printed = Printed()
    printed.add(
        "a",
        [
            "(EngineCore pid=7) ERROR 11-30 04:00:00 [core.py:93] RuntimeError: no kernel image",
            '  File "x.py", line 1, in f',
            "",
            "\x1b[36mFatal Python error: Segmentation fault\x1b[0m",
            "Extension modules: numpy",
        ],
    )
    printed.add("b", ["one", "two", "three", "four"])
    assert printed.take("a") == "RuntimeError: no kernel image | Fatal Python error: Segmentation fault"
    assert printed.take("a") == ""
    assert printed.take("b") == "two | three | four"
