"""The parameters of the flows, which `verl-vip` and the pages of the flows share; imports nothing that takes time.

The annotation of a parameter has its type, its limits, and the text that describes it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar, get_type_hints
from urllib.parse import urlsplit

from verl_vip.annotations import PathText, Range, description
from verl_vip.errors import ConfigError
from verl_vip.evaluation.sampling import SamplingSettings
from verl_vip.execution.ray_variables import READABLE_BY_OTHERS

Made = TypeVar("Made")
Function = TypeVar("Function", bound=Callable[..., Any])
Search = Literal["grid", "botorch"]
_Number = Annotated[int, Range(least=1, most=10**6)]

#: The folder of all runs, unless another is given.
ROOT = "runs"


@dataclass(frozen=True, kw_only=True)
class JobParameters:
    """Which run a flow is about, and where its jobs run."""

    name: Annotated[str, "name of the run or sweep, and of its folder in the root"]
    root: Annotated[PathText, "folder of all runs; on a cluster, the same path on every node and for the flow"]
    cluster: Annotated[
        str | None,
        "address of a Ray dashboard, whose cluster runs the jobs; without one, they run on this machine",
    ] = None
    environment: Annotated[
        Mapping[str, str], f"environment variables for the jobs; on a cluster, {READABLE_BY_OTHERS}"
    ] = field(default_factory=dict)
    python: Annotated[
        PathText | None, "interpreter of the jobs; without one, the flow's own, or `python` on a cluster"
    ] = None


@dataclass(frozen=True, kw_only=True)
class TrainingParameters(JobParameters):
    """What is trained."""

    recipe: Annotated[str, "a recipe of verl_vip.recipes, such as demo"]
    overrides: Annotated[Sequence[str], "Hydra overrides of the recipe, such as trainer.save_freq=2"] = ()
    retries: Annotated[
        int, Range(least=0, most=1000), "how often a lost job is started again; verl resumes from its last checkpoint"
    ] = 2


@dataclass(frozen=True, kw_only=True)
class EvaluationParameters(JobParameters):
    """How the checkpoints of a run are evaluated."""

    benchmarks: Annotated[Sequence[str], "benchmarks, as for `verl-vip evaluate`"]
    n: Annotated[int, Range(least=1, most=10**6), "samples per problem"] = SamplingSettings.n
    options: Annotated[Sequence[str], "further options of `verl-vip evaluate`"] = ()


@dataclass(frozen=True, kw_only=True)
class FollowingParameters(EvaluationParameters):
    """Whether the checkpoints are evaluated while the run is being trained."""

    follow: Annotated[bool, "wait for new checkpoints as long as the run is training"] = False
    patience_s: Annotated[
        float, Range(least=0, most=1e9), "with follow, the longest pause of the training, in seconds"
    ] = 120.0


@dataclass(frozen=True)
class SweepParameters:
    """What a sweep varies. A design is a strategy with a budget."""

    strategies: Annotated[Sequence[str], "strategies, as for vip.strategy"] = ("uniform", "vip")
    budgets: Annotated[Sequence[_Number], "mean numbers of rollouts per prompt"] = (4, 8, 16)
    seeds: Annotated[_Number, "number of trials of each design, with seeds 1, 2 and so on"] = 3
    search: Annotated[
        Search, "grid tries every design, that is every strategy with every budget; botorch tries the most promising"
    ] = "grid"
    designs: Annotated[_Number | None, "how many designs botorch tries; without a number, all"] = None
    concurrency: Annotated[_Number, "trials that run at the same time"] = 1


def require_address(cluster: str) -> None:
    """Refuse what cannot be the address of a Ray dashboard, without connecting to it.

    Raises:
        ConfigError: If it is not an HTTP address.
    """
    try:
        parts = urlsplit(cluster)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ConfigError(f"a cluster is named by its dashboard's address, such as http://head:8265; got {cluster!r}.")


def from_parameters(kind: type[Made], parameters: Mapping[str, Any]) -> Made:
    """Build a dataclass from a flow's parameters; parameters that are not its fields are ignored.

    Raises:
        VerlVipError: If a parameter is wrong, with one sentence that says why.
    """
    known = fields(kind)  # type: ignore[arg-type] # a dataclass
    given = {one.name: parameters[one.name] for one in known if parameters.get(one.name) is not None}
    required = [one.name for one in known if one.default is MISSING and one.default_factory is MISSING]
    if lacking := [name for name in required if name not in given]:
        raise ConfigError(f"{lacking[0]} is missing; give it.")
    return kind(**given)


def described_by(*kinds: type) -> Callable[[Function], Function]:
    """Add the descriptions of its parameters to a flow's docstring, from which Prefect makes the form on its page.

    Args:
        *kinds: Dataclasses that declare every parameter of the flow.

    Raises:
        KeyError: If a parameter is not declared.
    """
    texts = {
        name: description(one) for kind in kinds for name, one in get_type_hints(kind, include_extras=True).items()
    }

    def describe(function: Function) -> Function:
        lines = [f"    {name}: {texts[name]}" for name in inspect.signature(function).parameters]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Args:", *lines])
        return function

    return describe
