"""The keys of a run's configuration: dataclasses that OmegaConf takes as its structured schema.

The sentences under the fields become the table of keys in configs/KEYS.md (``reference``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from orchestrator.budget.units import UNITS


@dataclass
class ProblemsConfig:
    """The questions, their true answers, and how an answer is read."""

    source: str = "lab"
    """`lab` takes the lab's puzzles, `coins` its problems in words; `file` reads `path` (JSONL, JSON, CSV,
    TSV or Parquet, each also .gz); `datasets` reads a Hugging Face data set; `reasoning_gym` makes puzzles
    of a family; `jsonl` is `file` where only a column `id` has ids."""
    split: str = "test"
    """Part of a data set; of the lab's problems `train`, `validation`, `bins` or `test`; files have none."""
    path: str | None = None
    """A file; for `datasets` a name on the hub, a directory or a file; for `reasoning_gym` a family."""
    subset: str | None = None
    """Subset of a data set, such as `main` of openai/gsm8k; null where it has one only."""
    revision: str | None = None
    """Branch, tag or commit of a data set on the hub; null is its newest."""
    columns: dict[str, Any] = field(default_factory=dict)
    """Names of columns where they are not recognised: of `problem`, `answer`, `id`, `difficulty`, `choices`
    (one column, or a list of a column each) and `wrong` (the wrong answers beside the right one)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of a family of `reasoning_gym`, with `seed` and `size`."""
    limit: int | None = None
    """Only the first so many problems are used; null uses all."""
    too_long: str = "refuse"
    """What becomes of a problem whose longest solution does not fit a model's context: `refuse` ends before
    the start; `skip` leaves the problem out and counts it."""
    by: str | None = None
    """Attribute of the problems by which the table at the end shows accuracy too, such as `level`."""
    template: str = "{problem}"
    """Text of the prompt; it must contain `{problem}`, and may have `{choices}`, a line a choice, which else
    follow the problem."""
    answers: Any = "exact"
    """How answers are read and judged: `exact` (the whole text), `math`, `choice`, `number`, `code`, `judge`
    (a model decides what `math` does not accept), `reasoning_gym`, `path/to/file.py:function`, or a mapping
    with `name` and parameters, such as `{name: number, relative: 0.01}` (orchestrator/grading/README.md)."""


@dataclass
class ResourcesConfig:
    """The resources that Ray holds for one replica."""

    num_cpus: float = 1.0
    """CPUs of one replica; a number above 1 must be whole."""
    num_gpus: float = 0.0
    """GPUs of one replica: `tensor_parallel_size` times `pipeline_parallel_size` of `engine`, a part of one
    GPU where both are 1 (replicas that share one have as much of its memory, and start in turn), or 0: then
    it sees none."""
    custom: dict[str, float] = field(default_factory=dict)
    """Other resources by name, which keep a pool to the nodes that were started with them (`ray start
    --resources`)."""


@dataclass
class EndpointConfig:
    """A running OpenAI-compatible server, such as `vllm serve`, in place of engines."""

    url: str = MISSING
    """Base URL, such as `http://host:8000/v1`."""
    model: str | None = None
    """Name by which the server has the model; null takes the section's `model`."""
    key: str | None = None
    """Name of the environment variable that holds the server's key; null takes `OPENAI_API_KEY` if it is
    set."""
    concurrency: int = 64
    """Requests that are at the server at once, at most."""
    timeout_seconds: float = 600.0
    """Seconds that a request may take, and that the server may be away before the run gives it up."""
    retries: int = 5
    """Times that a request is sent again after an error of the server's, or a broken connection."""


@dataclass
class GeneratorConfig:
    """The model that writes the solutions."""

    model: str = MISSING
    """Directory or hub id of a causal language model that vLLM serves; `${lab:NAME}` is one of the lab."""
    endpoint: EndpointConfig | None = None
    """Server that has the model already, by its base URL or as a section; of `model` only the tokenizer and
    the costs are taken then. null starts engines."""
    replicas: int = 1
    """Engines, each with its own copy of the model."""
    min_replicas: int | None = None
    """The run begins when so many replicas are up, and the others join later; null waits for all."""
    dtype: str = "auto"
    """Numbers that the model computes in: `auto` for the model's own (in place of float32, bfloat16),
    `float32`, with which a CPU repeats its results exactly, `bfloat16` or `float16`."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub; null is its newest."""
    adapter: str | None = None
    """Directory of a LoRA adapter that the model runs with."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model is run."""
    temperature: float | None = None
    """Sampling temperature, 0 to 2; 0 is greedy. Here and up to `frequency_penalty`, null takes what the
    model's generation_config.json says, else leaves it off (1 for a temperature)."""
    top_p: float | None = None
    """Nucleus sampling: the tokens of this much probability, above 0, up to 1."""
    top_k: int | None = None
    """Only the so many most probable tokens are sampled; 0 is all."""
    min_p: float | None = None
    """Only tokens of at least this share of the most probable one's probability, 0 to 1."""
    repetition_penalty: float | None = None
    """Divides the odds of tokens that were there before, above 0; 1 is off."""
    presence_penalty: float | None = None
    """Is subtracted from the logits of tokens that were sampled before, -2 to 2; 0 is off."""
    frequency_penalty: float | None = None
    """The same for each time that they were sampled."""
    step_delimiter: Any = "\n\n"
    """Text that ends a step, a list of such, or `{regex: an expression}`, of which what is sampled beyond the
    match (up to 31 tokens a step) is dropped; null ends steps by `max_step_tokens` alone."""
    stop: list[str] = field(default_factory=list)
    """Texts that end a solution; it is read up to them. A base model's few-shot answer needs one."""
    end_of_thinking: str | None = None
    """Text that ends a reasoning model's thinking, such as `</think>`; null for other models."""
    max_step_tokens: int = 512
    """Tokens after which a step ends without its delimiter."""
    max_tokens: int = 2048
    """Tokens of a whole solution at most, thinking included."""
    confidence: Any = None
    """The model's own confidence in a solution, by which the rules `confident` and `confidence_weighted`
    select; it costs nothing. `mean` is over all its tokens; a number, such as 2048, is the lowest over so
    many successive ones; null has none."""
    chat: bool = False
    """Whether the prompt is sent as a user's message in the model's own chat template."""
    system: str | None = None
    """System prompt of a chat."""
    examples: list[Any] = field(default_factory=list)
    """Solved questions that a chat begins with, each `{user: …, assistant: …}`."""
    chat_template: str | None = None
    """A Jinja file, or its text, in place of the model's own chat template."""
    chat_options: dict[str, Any] = field(default_factory=dict)
    """Variables of the chat template, such as `{enable_thinking: false}`."""
    reply: str = ""
    """Text that begins the model's answer, which it continues."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM, such as `max_model_len`; those that other keys set are refused."""


@dataclass
class VerifierConfig:
    """The model that scores steps or solutions."""

    model: str | None = None
    """Directory or hub id of a model that vLLM serves, or `path/to/file.py:function`; null scores nothing,
    and majority decides."""
    format: str | None = None
    """How the model is shown a path, and what is read of it: `steps` (of `ttc verifier train`), `token`
    (TRL), `qwen-prm`, `math-shepherd`, `rlhflow`, `skywork`, `orm`, `judge`, `function` (of a `model` that is
    one), or `path/to/file.py:Class`; null takes the one that the model's configuration makes certain."""
    kind: str | None = None
    """`prm` scores each step, `orm` a whole solution; null takes what the format does, or `prm`."""
    system: str | None = None
    """System prompt of formats that are chats; null takes the format's own, `""` leaves it out."""
    separator: str | None = None
    """Text between the steps that a format shows; null takes the white space that ends
    `generator.step_delimiter`: what else a delimiter has is part of the step before it."""
    template: str | None = None
    """The judge's question, with `{problem}` and `{solution}`, and `{choices}` if you like; null takes one
    about the last step, or about the solution."""
    choices: dict[str, float] = field(default_factory=dict)
    """The judge's answers, each one token, and the scores from 0 to 1 that they stand for; empty takes
    `{"No": 0, "Yes": 1}`."""
    token_ratio: float = 2.0
    """The verifier's tokens that are granted for each of the generator's before the text is known; a step
    that takes more is not scored, and counted."""
    aggregation: str = "last"
    """How the scores of steps make the score of a path: `last`, `min` or `prod` (their product)."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub; null is its newest."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model is run."""
    replicas: int = 1
    """Engines, each with its own copy of the model."""
    min_replicas: int | None = None
    """The run begins when so many replicas are up, and the others join later; null waits for all."""
    dtype: str = "auto"
    """Numbers that the model computes in: `auto` for the model's own (in place of float32, bfloat16),
    `float32`, with which a CPU repeats its results exactly, `bfloat16` or `float16`."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM, such as `max_model_len`; those that other keys set are refused."""


@dataclass
class ReviserConfig:
    """The model that writes the attempts of strategy `revisions`; it has the generator's vocabulary."""

    model: str | None = None
    """Directory or hub id of a causal language model that vLLM serves; null lets the generators revise."""
    format: str = "plain"
    """How earlier attempts are shown: `plain`; `self_critique` asks for the first mistake;
    `verifier_feedback` shows a PRM's scores; `lab` is the format of the lab's reviser."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub; null is its newest."""
    adapter: str | None = None
    """Directory of a LoRA adapter that the model runs with."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model is run."""
    replicas: int = 1
    """Engines, each with its own copy of the model."""
    min_replicas: int | None = None
    """The run begins when so many replicas are up, and the others join later; null waits for all."""
    dtype: str = "auto"
    """Numbers that the model computes in: `auto` for the model's own (in place of float32, bfloat16),
    `float32`, with which a CPU repeats its results exactly, `bfloat16` or `float16`."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM, such as `max_model_len`; those that other keys set are refused."""


@dataclass
class JudgeConfig:
    """The model that says whether an answer is right, with `problems.answers: judge`."""

    model: str | None = None
    """Directory or hub id of a causal language model that vLLM serves; null where no model judges."""
    endpoint: EndpointConfig | None = None
    """Server that has the model already, by its base URL or as a section: it writes an answer, and the last
    of the `choices` in it counts; of `model` only the tokenizer and the costs are taken. null starts
    engines."""
    max_tokens: int = 16
    """Tokens of an answer that an endpoint writes, at most."""
    system: str | None = None
    """System prompt of its chat; null has none."""
    template: str | None = None
    """The question, with `{answer}` and any of `{problem}`, `{truth}`, `{solution}` (the first one that has
    the answer) and `{choices}`; null asks whether the answer is the same as the true one."""
    choices: dict[str, float] = field(default_factory=dict)
    """The words that it answers with, each one token, and what they stand for, from 0 to 1: 0.5 or more is
    right; empty takes `{"No": 0, "Yes": 1}`."""
    flops: float | None = None
    """FLOPs that judging may take, in equal shares of the problems, beside the run's budget; what they do not
    pay for is not graded, and counted. null sets no limit."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub; null is its newest."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model is run."""
    replicas: int = 1
    """Engines, each with its own copy of the model."""
    min_replicas: int | None = None
    """The run begins when so many replicas are up, and the others join later; null waits for all."""
    dtype: str = "auto"
    """Numbers that the model computes in: `auto` for the model's own (in place of float32, bfloat16),
    `float32`, with which a CPU repeats its results exactly, `bfloat16` or `float16`."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM, such as `max_model_len`; those that other keys set are refused."""


@dataclass
class SelectionConfig:
    """Generative selection: the generator itself reads solutions and picks one, beside the rules that cost
    nothing."""

    generative: bool = False
    """Whether it does so after each search; the answer is reported as `generative`. It reads one solution of
    each answer; where all agree, nothing is asked."""
    share: float = 0.25
    """Share of each problem's budget that is kept for it, above 0, below 1; it may also spend what the search
    leaves. What neither pays for is not asked, and counted."""
    group: int = 4
    """Solutions that are read at once, 2 or more. The winners of several groups are read again."""
    candidates: int = 16
    """Answers that take part at most: the most frequent ones."""
    max_tokens: int | None = None
    """Tokens of a reply at most, thinking included; null takes `generator.max_tokens`."""
    template: str | None = None
    """The question, with `{problem}`, `{solutions}` and, if you like, `{count}`. The last line of a reply has
    to be `Choice:` and a number; else the group's most frequent answer stands, which is counted."""


@dataclass
class AllocationConfig:
    """The division of the budget between the problems; `pass_on` is for `uniform`, the keys after it are for
    `adaptive`."""

    name: str = "uniform"
    """`uniform` gives equal shares; `compute_optimal` follows the policy of the strategy of that name;
    `adaptive` moves the budget, while the run goes on, to the problems where it is expected to gain most."""
    pass_on: bool = True
    """Whether a problem whose share is spent gets, once and up to as much again, what the problems before it
    left of theirs. A sweep's cells have `false` unless given: there a budget is what each problem has."""
    confidence: float = 0.9
    """A problem stops when its selected answer is right with this probability, above 0, up to 1."""
    round: float = 0.1
    """Share of what is left of the budget that one round hands out, above 0, up to 1."""
    parallel: int = 64
    """Solutions that a round pays for at least, so that the engines have work."""
    exploration: float = 0.0
    """Standard deviations that are added to the estimated chance that a problem's next solution is right."""
    min_gain: float = 0.005
    """A problem stops when one more solution adds less than this to the chance that it is solved; 0 never
    gives one up."""


@dataclass
class BudgetConfig:
    """The spending limit of the run: exactly one of `flops`, `tokens` and `generations`."""

    flops: float | None = None
    """FLOPs of all forward passes of the run, verifier included."""
    tokens: float | None = None
    """Generated tokens of the whole run, converted to FLOPs by what solutions cost."""
    generations: int | None = None
    """Solutions a problem (N of best-of-N) at full length, with their scores, converted to FLOPs."""
    solution_tokens: int | None = None
    """Tokens of a solution where other units are converted to FLOPs; null takes `generator.max_tokens`."""

    @property
    def units(self) -> list[str]:
        """Returns the names of the units that are given; a checked configuration has one."""
        return [unit for unit in UNITS if getattr(self, unit) is not None]


@dataclass
class ClusterConfig:
    """The Ray cluster, and how long its replicas may take."""

    address: str | None = None
    """null starts Ray on this machine; `auto` or `host:port` joins a cluster."""
    price: float = 2.0
    """Price of an accelerator-hour, or of a CPU-hour where no replica holds a GPU, for `ttc report`."""
    start_timeout_seconds: float = 600.0
    """Seconds that the replicas have to be up, without those in which a model's download goes on; a lost one
    that is not up again by then is started anew."""
    probe_after_seconds: float = 30.0
    """Seconds of silence after which a replica is asked for one token."""
    probe_timeout_seconds: float = 120.0
    """Seconds that a replica has for this token before it is replaced."""


@dataclass
class TrackingConfig:
    """The place where MLflow keeps what the run logs."""

    uri: str | None = None
    """Address of an MLflow server or store; null is a SQLite store in the directory `runs`."""
    experiment: str = "ttc"
    """Name of the MLflow experiment."""
    traces: int = 3
    """Problems, from the first, whose searches are logged as traces; at most 100."""


@dataclass
class Config:
    """One run; configs/lab.yaml is an example."""

    name: str = MISSING
    """Name of the run and of its directory: letters, digits, `.`, `_` and `-`."""
    seed: int = 0
    """Number from which the seed of every request is derived."""
    baseline: int = 0
    """Independent samples of each problem, beside the search and its budget, which show what the search buys:
    the accuracy of one sample, and of their majority. 0 takes none."""
    max_searches: int = 128
    """Problems that are searched at once under `allocation.name: uniform`; otherwise all are."""
    log_level: str = "info"
    """Least severe records that `run.log` keeps: `debug`, `info`, `warning` or `error`."""
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    verifier: VerifierConfig = field(default_factory=VerifierConfig)
    reviser: ReviserConfig = field(default_factory=ReviserConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    strategy: dict[str, Any] = field(default_factory=dict)
    """`name`, which is needed, and the strategy's parameters; the name may be `path/to/file.py:function`."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    allocation: AllocationConfig = field(default_factory=AllocationConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    runs: str = "runs"
    """Directory for the results, a subdirectory a run."""
    unresolved: dict[str, tuple[str, Any]] = field(
        default_factory=dict, metadata={"omegaconf_ignore": True}, compare=False
    )
    """No key: the values that come from the environment, by key, with the texts that they were given by."""


@dataclass
class DifficultyConfig:
    """The run that only tells how hard the problems are."""

    samples: int = 64
    """Solutions a problem."""
    seed: int = 977
    """Seed of this run; no cell may have the same."""


@dataclass
class SweepConfig:
    """The cells of `ttc sweep`: the product of `models`, `grid` and `strategies`."""

    strategies: list[Any] = field(default_factory=list)
    """Strategies by name or as sections; a key with a dot overrides that key in this strategy's cells, and a
    list there is an axis of its own."""
    grid: dict[str, Any] = field(default_factory=dict)
    """Keys of the configuration, each with a list of values."""
    models: list[Any] = field(default_factory=list)
    """Mappings of keys to values, such as `{verifier.model: DIR}`."""
    difficulty: DifficultyConfig | None = None
    """One more best-of-N run for each pair of models of the grid, which tells how hard each problem is; null
    has none."""


LAB_MODELS = Path(__file__).parent.parent / "lab" / "checkpoints"
OmegaConf.register_resolver("lab", lambda name: str(LAB_MODELS / name), replace=True)
"""``${lab:generator-s}``: a lab model, wherever the project is installed."""

SETS = Path(__file__).parents[2] / "configs" / "sets"
OmegaConf.register_resolver("sets", lambda name: str(SETS / f"{name}.yaml"), replace=True)
"""``${sets:gsm8k}``: a ready problem set, for ``base``."""


def to_dict(config: Config) -> dict[str, Any]:
    """Returns the keys and their values in plain containers."""
    found = asdict(config)
    del found["unresolved"]  # it is no key
    return found
