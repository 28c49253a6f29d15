"""The society file: one frozen model of a TOML file; unknown keys are refused, the first wrong line is named.

::

    [society]
    name = "digits"
    state = ".locution"      # passwords, certificates, models, database; relative to this file
    data = "."               # the folder that learners may read datasets from

    [xmpp]
    server = "embedded"      # or "external"
    port = 5222

    [dashboard]
    port = 10000             # the first agent of the file has 10001, the second 10002, ...

    [metrics]
    port = 9464              # http://127.0.0.1:9464/metrics; by default any free one

    [[agent]]
    name = "learner-1"
    kind = "learner"         # a built-in kind, or package.module:Class
    # leadership = "per-task"  # of coordinators: each does what it is asked for; by default their leader does
    options = { device = "cpu" }

    [delivery]               # where messages are written down: see `society.durability`

    [election]               # who decides which agent leads: see `society.elections`

    [authority]              # who may say what to whom: see `society.authorities`
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from behaviours.authority import Policy
from society import authorities, durability, elections, secret_files
from society.authorities import AuthorityTable, RuleTable, policy_of
from society.durability import DeliveryTable
from society.elections import ElectionTable
from society.errors import SocietyFileError
from society.places import beside, host
from society.state import PASSWORD_VARIABLE
from society.suggestions import unknown_among
from society.toml_lines import Place, line_of, lines_of
from society.toml_text import TOO_DEEP, read
from society.validating import explained

DEFAULT_FILE = Path("society.toml")

SERVER = "xmpp-server"
"""How the embedded server is called among the agents of ``--only``."""

ADDRESS_VARIABLES: Mapping[str, tuple[str, str]] = {
    "LOCUTION_XMPP_HOST": ("xmpp", "host"),
    "LOCUTION_XMPP_PORT": ("xmpp", "port"),
    "LOCUTION_DASHBOARD_HOST": ("dashboard", "host"),
    "LOCUTION_DASHBOARD_PORT": ("dashboard", "port"),
    "LOCUTION_METRICS_HOST": ("metrics", "host"),
    "LOCUTION_METRICS_PORT": ("metrics", "port"),
    "LOCUTION_REDIS": ("delivery", "redis"),
    "LOCUTION_CONSUL": ("election", "consul"),
}
"""Environment variables that stand above the file: addresses only. Passwords: see `society.state`."""

TEST_VARIABLE = "LOCUTION_REQUIRE_ALL"
"""Makes tests fail that would be skipped; nothing that runs looks at it."""

Port = Annotated[int, Field(ge=1, le=65535)]
LocalName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""The part of a JID before the @, as we hand it out: lower case, and safe as a file name."""
Host = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(host)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _beside_the_file(path: Path | None, info: ValidationInfo) -> Path | None:
    file: Path = (info.context or {}).get("path", DEFAULT_FILE)
    return None if path is None else beside(file, path)


class SocietyTable(_Table):
    """``[society]``: what holds for all."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    domain: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")] = "localhost"
    """The part of every JID behind the @."""
    state: Path = Field(default=".locution", validate_default=True)
    """The folder of passwords, certificates, models and the database; relative to the file."""
    data: Path = Field(default=".", validate_default=True)
    """The folder that learners may read datasets from; relative to the file."""
    operator: LocalName = "operator"
    """The account of the command line."""
    trace: Annotated[str, Field(min_length=1)] | None = None
    """A file in the state folder to record every message in, for `locution audit`; by default none."""

    _place = field_validator("state", "data")(_beside_the_file)


class XmppTable(_Table):
    """``[xmpp]``: the server."""

    server: Literal["embedded", "external"] = "embedded"
    host: Host = "127.0.0.1"
    port: Port = 5222
    registration: bool = False
    """Whether strangers may make accounts on the embedded server; on an external one, whether our
    agents make their own (XEP-0077)."""
    ca_file: Path | None = None
    """External only: the authority that signed its certificate; by default the system's are trusted."""

    _place = field_validator("ca_file")(_beside_the_file)


class DashboardTable(_Table):
    """``[dashboard]``: the web pages of the agents."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65534)] = 10000
    """The n-th agent of the file has port + n, so that every agent's address is known beforehand."""


class MetricsTable(_Table):
    """``[metrics]``: the HTTP endpoint of each process, with its metrics and health (`society.endpoint`)."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 takes any free one, which `locution up` tells: several processes may run on one machine."""


class AgentTable(_Table):
    """``[[agent]]``: one agent."""

    name: LocalName
    kind: Annotated[str, Field(min_length=1)]
    """A built-in kind, or ``package.module:Class``."""
    leadership: Literal["leader", "per-task"] | None = None
    """Who does what the agent's group is asked for: its leader, or whoever is asked (`agents.partitions`).
    For kinds with a group; the same for all of it."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """The keyword-only parameters of the kind's ``__init__``; checked by `society.kinds`."""


class SocietyFile(_Table):
    """A society as its file describes it, with absolute paths. Get one with `load`."""

    society: SocietyTable
    xmpp: XmppTable = XmppTable()
    dashboard: DashboardTable = DashboardTable()
    metrics: MetricsTable = MetricsTable()
    delivery: DeliveryTable = DeliveryTable()
    election: ElectionTable = ElectionTable()
    authority: AuthorityTable | None = None
    agents: Annotated[tuple[AgentTable, ...], Field(alias="agent")] = ()
    _path: Path = PrivateAttr(default=DEFAULT_FILE)
    _lines: Mapping[Place, int] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        """Remember where it was read from, for what turns out to be wrong only later."""
        self._path = context["path"]
        self._lines = context["lines"]

    @property
    def path(self) -> Path:
        """The file that this was read from."""
        return self._path

    @property
    def is_embedded(self) -> bool:
        """Whether the server is ours."""
        return self.xmpp.server == "embedded"

    @property
    def directory(self) -> str | None:
        """The bare JID of the first directory facilitator, for the agents that want one."""
        for agent in self.agents:
            if agent.kind == "directory-facilitator":
                return self.jid(agent.name)
        names = [agent.name for agent in self.agents]
        return self.jid("directory") if "directory" in names else None

    @property
    def policy(self) -> Policy:
        """Who may say what to the agents of this file."""
        accounts = {agent.name: self.jid(agent.name) for agent in self.agents}
        operator = self.jid(self.society.operator)
        return policy_of(self.authority, domain=self.society.domain, accounts=accounts, operator=operator)

    def jid(self, name: str) -> str:
        """The bare JID of an account of this society; a JID stays what it is."""
        return name if "@" in name else f"{name}@{self.society.domain}"

    def dashboard_port(self, name: str) -> int:
        """Where the dashboard of an agent listens."""
        return self.dashboard.port + 1 + [agent.name for agent in self.agents].index(name)

    def dashboard_url(self, name: str) -> str | None:
        """The address of an agent's dashboard; None where it has none."""
        if not self.dashboard.enabled or name not in {agent.name for agent in self.agents}:
            return None
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.dashboard.host, self.dashboard.host)  # noqa: S104 - what it is called by, not what is bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.dashboard_port(name)}/spade"

    def fault(self, place: Place, text: str) -> SocietyFileError:
        """An error about one setting of this file."""
        return SocietyFileError(self._path, line_of(self._lines, place), text)

    def agent_fault(self, agent: AgentTable, place: Place, text: str) -> SocietyFileError:
        """An error about one agent of this file."""
        return self.fault(("agent", self.agents.index(agent), *place), f"agent {agent.name!r}: {text}")


def load(path: Path, environment: Mapping[str, str] | None = None) -> SocietyFile:
    """Read a society file.

    Args:
        path: the TOML file.
        environment: variables that stand above the file (`ADDRESS_VARIABLES`); by default the process's.

    Raises:
        SocietyFileError: it cannot be read or used; the sentence names the first wrong line.
    """
    environment = secret_files.read(os.environ if environment is None else environment)
    _check_variables(environment)
    text, raw = read(path)
    lines = lines_of(text)
    overridden = _override(raw, environment)
    try:
        # Read as JSON, strictness forbids "5222" for a port and still takes a list for a tuple.
        text = json.dumps(raw, default=str)
        file = SocietyFile.model_validate_json(text, context={"path": path, "lines": lines})
    except ValidationError as error:
        raise _first_fault(path, lines, raw, overridden, error) from error
    if not file.agents:
        raise file.fault(("agent",), "it has no agents; add at least one [[agent]] with name and kind")
    _check_names(file)
    _check_ports(file)
    _check_tables(file, overridden)
    return file


def _check_variables(environment: Mapping[str, str]) -> None:
    """Refuse variables that look like ours and are not: a typing error would be overlooked for ever."""
    for variable in sorted(environment):
        is_known = variable in {*ADDRESS_VARIABLES, TEST_VARIABLE} or variable.startswith(PASSWORD_VARIABLE)
        if variable.startswith("LOCUTION_") and not is_known:
            known = ", ".join([*ADDRESS_VARIABLES, f"{PASSWORD_VARIABLE}<NAME>"])
            text = f"there is no such environment variable; there are {known}"
            raise SocietyFileError(Path(variable), None, text)


def _override(raw: dict[str, Any], environment: Mapping[str, str]) -> dict[Place, str]:
    """Put addresses of the environment into what was read; return which variable set what."""
    overridden: dict[Place, str] = {}
    for variable, (table, key) in ADDRESS_VARIABLES.items():
        value = environment.get(variable)
        if value and isinstance(raw.setdefault(table, {}), dict):
            raw[table][key] = int(value) if value.isdecimal() and len(value) < 10 else value
            overridden[table, key] = variable
    return overridden


def _first_fault(
    path: Path, lines: Mapping[Place, int], raw: Mapping[str, Any], overridden: Mapping[Place, str],
    error: ValidationError,
) -> SocietyFileError:  # fmt: skip
    """Of several faults, the one on the first line."""
    faults = error.errors(include_url=False)
    # A key that is misspelt is also one that is missing, and is told as what it is.
    misspelt = {each["loc"][:-1] for each in faults if each["type"] == "extra_forbidden"}
    faults = [each for each in faults if each["type"] != "missing" or each["loc"][:-1] not in misspelt]
    fault = min(faults, key=lambda each: line_of(lines, each["loc"]) or 0)
    place = fault["loc"]
    if place in overridden:
        return SocietyFileError(
            Path(overridden[place]), None, f"{explained(fault)} (an environment variable)"
        )
    where = _where(place, raw)
    match fault["type"]:
        case "extra_forbidden":
            text = _unknown(place[:-1], str(place[-1]), _where(place[:-1], raw))
        case "json_invalid":
            text = TOO_DEEP
        case "missing" if len(place) == 1:
            text = f"it has no table [{place[0]}]"
        case "missing":
            text = f"{_where(place[:-1], raw)} needs a {place[-1]}"
        case _:
            text = f"{where}: {explained(fault)}"
    return SocietyFileError(path, line_of(lines, place), text)


def _where(place: Place, raw: Mapping[str, Any]) -> str:
    """Name a place in the words of the file: ``[xmpp] port``, ``agent 'learner-1' kind``."""
    if not place:
        return "the file"
    table, *rest = place
    if table == "agent" and rest and isinstance(rest[0], int):
        number = rest.pop(0)
        agent = raw["agent"][number]
        name = agent.get("name") if isinstance(agent, dict) else None
        head = f"agent {name!r}" if isinstance(name, str) else f"agent {int(number) + 1}"
    elif place[:2] == ("authority", "rule") and len(place) > 2:
        head, rest = f"rule {int(place[2]) + 1} of [authority]", list(place[3:])
    else:
        head = f"[{table}]"
    return " ".join([head, ".".join(map(str, rest))]).strip()


_MODELS: Mapping[str, type[BaseModel]] = {
    "society": SocietyTable,
    "xmpp": XmppTable,
    "dashboard": DashboardTable,
    "metrics": MetricsTable,
    "delivery": DeliveryTable,
    "election": ElectionTable,
    "authority": AuthorityTable,
    "agent": AgentTable,
}


def _unknown(table: Place, key: str, where: str = "the file") -> str:
    model = RuleTable if table[:2] == ("authority", "rule") else _MODELS.get(str(table[0])) if table else None
    known = [field.alias or name for name, field in model.model_fields.items()] if model else _MODELS
    return unknown_among(where, "setting" if table else "table", key, known)


def _check_names(file: SocietyFile) -> None:
    taken = {file.society.operator: "the operator's account", SERVER: "the embedded server"}
    for agent in file.agents:
        if agent.name in taken:
            text = f"the name is taken already, by {taken[agent.name]}; give every agent its own"
            raise file.agent_fault(agent, ("name",), text)
        taken[agent.name] = "another agent"


def _check_tables(file: SocietyFile, overridden: Mapping[Place, str]) -> None:
    """Look at what the tables in files of their own say of themselves."""
    is_set = ("delivery", "redis") in overridden
    told = [("delivery", *each) for each in durability.faults(file.delivery, is_from_outside=is_set)]
    is_set = ("election", "consul") in overridden
    told += [("election", *each) for each in elections.faults(file.election, is_from_outside=is_set)]
    told += [("authority", *each) for each in authorities.faults(file.authority or AuthorityTable())]
    found = [file.fault((table, *place), text) for table, place, text in told]
    if found:
        raise min(found, key=lambda each: each.line or 0)


def _check_ports(file: SocietyFile) -> None:
    metrics = file.metrics.port if file.metrics.enabled else 0
    if metrics and file.is_embedded and metrics == file.xmpp.port:
        text = (
            f"[metrics] port: {metrics} is the port of the XMPP server; choose another, or 0 for any free one"
        )
        raise file.fault(("metrics", "port"), text)
    if not file.dashboard.enabled:
        return
    last = file.dashboard.port + len(file.agents)
    if file.dashboard.port < metrics <= last:
        text = (
            f"[metrics] port: {metrics} is the port of an agent's dashboard; choose another, or 0 for any "
            "free one"
        )
        raise file.fault(("metrics", "port"), text)
    if last > 65535:
        text = f"[dashboard] port: the last agent would have port {last}; the highest is 65535"
        raise file.fault(("dashboard", "port"), text)
    if file.is_embedded and file.dashboard.port < file.xmpp.port <= last:
        text = f"[xmpp] port: {file.xmpp.port} is the port of an agent's dashboard; choose another"
        raise file.fault(("xmpp", "port"), text)
