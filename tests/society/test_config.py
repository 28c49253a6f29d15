from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from behaviours.authority import Rule
from behaviours.signing import SigningKey
from ontology.acl import Performative
from society.config import ADDRESS_VARIABLES, SocietyFile, load
from society.errors import SocietyFileError
from society.keys import KnownKeys
from society.state import StateFolder

MINIMAL = """\
[society]
name = "s"
[[agent]]
name = "one"
kind = "coordinator"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "society.toml"
    path.write_text(text)
    return path


def read(folder: Path, text: str, **environment: str) -> SocietyFile:
    return load(written(folder, text), environment)


def test_what_is_left_out_has_its_default(tmp_path):
    file = read(tmp_path, MINIMAL)
    assert (file.society.domain, file.society.operator) == ("localhost", "operator")
    assert file.society.state == tmp_path / ".locution"
    assert file.society.data == tmp_path
    assert (file.xmpp.host, file.xmpp.port, file.is_embedded) == ("127.0.0.1", 5222, True)
    assert (file.dashboard.enabled, file.dashboard.host, file.dashboard.port) == (True, "127.0.0.1", 10000)
    assert (file.metrics.enabled, file.metrics.host, file.metrics.port) == (True, "127.0.0.1", 0)
    assert file.agents[0].options == {}


def test_folders_are_relative_to_the_file(tmp_path, monkeypatch):
    written(tmp_path, MINIMAL.replace('"s"', '"s"\nstate = "a/b"\ndata = "/data"'))
    monkeypatch.chdir(tmp_path.parent)
    file = load(Path(tmp_path.name) / "society.toml", {})
    assert file.society.state == tmp_path / "a/b"
    assert file.society.data == Path("/data")


def test_the_nth_agent_has_the_nth_dashboard(tmp_path):
    file = read(tmp_path, MINIMAL + '[[agent]]\nname = "two"\nkind = "learner"\n')
    assert file.dashboard_url("one") == "http://127.0.0.1:10001/spade"
    assert file.dashboard_url("two") == "http://127.0.0.1:10002/spade"
    assert file.dashboard_url("stranger") is None


def test_without_dashboards_there_are_no_addresses(tmp_path):
    file = read(tmp_path, MINIMAL + "[dashboard]\nenabled = false\n")
    assert file.dashboard_url("one") is None


def test_the_directory_is_the_agent_of_that_kind_or_of_that_name(tmp_path):
    df = '[[agent]]\nname = "yellow"\nkind = "directory-facilitator"\n'
    assert read(tmp_path, MINIMAL).directory is None
    assert read(tmp_path, MINIMAL + df).directory == "yellow@localhost"
    own = '[[agent]]\nname = "directory"\nkind = "mine:Own"\n'
    assert read(tmp_path, MINIMAL + own).directory == "directory@localhost"


def test_addresses_of_the_environment_stand_above_the_file(tmp_path):
    file = read(
        tmp_path,
        MINIMAL + "[xmpp]\nport = 1\n",
        LOCUTION_XMPP_HOST="::1",
        LOCUTION_XMPP_PORT="7000",
        LOCUTION_DASHBOARD_HOST="0.0.0.0",
        LOCUTION_DASHBOARD_PORT="8000",
        LOCUTION_METRICS_HOST="0.0.0.0",
        LOCUTION_METRICS_PORT="9464",
    )
    assert (file.xmpp.host, file.xmpp.port) == ("::1", 7000)
    assert file.dashboard_url("one") == "http://127.0.0.1:8001/spade"
    assert (file.metrics.host, file.metrics.port) == ("0.0.0.0", 9464)
    assert len(ADDRESS_VARIABLES) == 8


def test_a_variable_that_there_is_not_is_refused(tmp_path):
    told = (
        "^LOCUTION_XMP_PORT: there is no such environment variable; there are LOCUTION_XMPP_HOST, "
        "LOCUTION_XMPP_PORT, LOCUTION_DASHBOARD_HOST, LOCUTION_DASHBOARD_PORT, "
        "LOCUTION_METRICS_HOST, LOCUTION_METRICS_PORT, LOCUTION_REDIS, LOCUTION_CONSUL, "
        "LOCUTION_PASSWORD_<NAME>$"
    )
    with pytest.raises(SocietyFileError, match=told):
        read(tmp_path, MINIMAL, LOCUTION_XMP_PORT="1")
    read(tmp_path, MINIMAL, LOCUTION_PASSWORD_ONE="x", LOCUTION_REQUIRE_ALL="1", PATH="x")


def test_a_wrong_variable_is_named(tmp_path):
    with pytest.raises(SocietyFileError, match=r"^LOCUTION_XMPP_PORT: should be a valid integer, not \"x\""):
        read(tmp_path, MINIMAL, LOCUTION_XMPP_PORT="x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MINIMAL + "[xmpp]\nprot = 1\n", ":7: [xmpp] has no setting 'prot'; did you mean 'port'?"),
        (MINIMAL + "[xmpp]\nzzz = 1\n", ":7: [xmpp] has no setting 'zzz'; it has server, host, port, "),
        (MINIMAL + "[xmp]\nport = 1\n", ":6: the file has no table 'xmp'; did you mean 'xmpp'?"),
        ("agents = 1\n" + MINIMAL, ":1: the file has no table 'agents'; did you mean 'agent'?"),
        (
            MINIMAL + "colour = 1\n",
            ":6: agent 'one' has no setting 'colour'; it has name, kind, leadership, options",
        ),
        (MINIMAL + '[xmpp]\nport = "5222"\n', ':7: [xmpp] port: should be a valid integer, not "5222"'),
        (
            MINIMAL + "[xmpp]\nport = 70000\n",
            ":7: [xmpp] port: should be less than or equal to 65535, not 70000",
        ),
        (MINIMAL + "[xmpp]\nserver = 'own'\n", ":7: [xmpp] server: should be 'embedded' or 'external', not"),
        (MINIMAL + "[xmpp]\nregistration = 1\n", ":7: [xmpp] registration: should be a valid boolean, not 1"),
        (MINIMAL + "[dashboard]\nport = 65535\n", ":7: [dashboard] port: should be less than"),
        (MINIMAL + "[dashboard]\nport = 5221\n", ": [xmpp] port: 5222 is the port of an agent's dashboard"),
        (MINIMAL + "[metrics]\nport = 5222\n", ":7: [metrics] port: 5222 is the port of the XMPP server;"),
        (MINIMAL + "[metrics]\nport = 10001\n", ":7: [metrics] port: 10001 is the port of an agent's dash"),
        (MINIMAL.replace('"one"', '"One two"'), ":4: agent 'One two' name: write lower-case letters"),
        (MINIMAL.replace('"one"', "1"), ":4: agent 1 name: should be a valid string, not 1"),
        (
            MINIMAL.replace('"one"', '"operator"'),
            ":4: agent 'operator': the name is taken already, by the op",
        ),
        (MINIMAL.replace('"one"', '"xmpp-server"'), ":4: agent 'xmpp-server': the name is taken already"),
        (
            MINIMAL + "[[agent]]\nname = 'one'\nkind = 'learner'\n",
            ":7: agent 'one': the name is taken already, by another agent; give every agent its own",
        ),
        (MINIMAL.replace('kind = "coordinator"\n', ""), ":3: agent 'one' needs a kind"),
        (MINIMAL.replace('name = "s"\n', ""), ":1: [society] needs a name"),
        ("[[agent]]\nname = 'a'\nkind = 'b'\n", ": it has no table [society]"),
        ("[society]\nname = 's'\n", ": it has no agents; add at least one [[agent]] with name and kind"),
        ("agent = []\n[society]\nname = 's'\n", ":1: it has no agents"),
        ("[society]\nname = \n", ":2: this is not TOML: Invalid value"),
        ("[society]\nname = 's'\nname = 't'\n", ":3: this is not TOML: Cannot overwrite a value"),
        ("society = 1\n", ":1: [society]: should be a table, not 1"),
        ("agent = 1\n" + MINIMAL.partition("[[")[0], ":1: [agent]: should be a valid "),
        (MINIMAL + "options = 1\n", ":6: agent 'one' options: should be "),
        (MINIMAL.replace('"s"', '"s"\ndomain = "not a domain"'), ":3: [society] domain: write lower-case"),
        (
            MINIMAL.replace('name = "s"', 'nmae = "s"'),
            ":2: [society] has no setting 'nmae'; did you mean 'name'?",
        ),
        (
            MINIMAL.replace('"s"', '"s"\nstate = "~nosuchuser/x"'),
            ":3: [society] state: there is no user 'nosuchuser' whose home this could be in, not ",
        ),
        (
            MINIMAL.replace('"s"', '"s"\ndata = "a\\u0000b"'),
            ":3: [society] data: no path holds the character U+0000, not ",
        ),
        (MINIMAL + "[xmpp]\nhost = 'a..b'\n", ":7: [xmpp] host: this can be no host: write a name or an"),
        (MINIMAL + f"[xmpp]\nhost = '{'x' * 64}.org'\n", ":7: [xmpp] host: this can be no host"),
        (MINIMAL + '[dashboard]\nhost = "a\\u0000"\n', ":7: [dashboard] host: this can be no host"),
        (MINIMAL + f"options = {'[' * 3000}{']' * 3000}\n", ": its arrays and tables are nested too deeply"),
        (MINIMAL + f"options = {'[' * 300}{']' * 300}\n", ": its arrays and tables are nested too deeply"),
        (MINIMAL + f"[xmpp]\nport = {'9' * 5000}\n", ": a date or number in it is too long to be read"),
        (MINIMAL + f"[xmpp]\nport = 0x{'f' * 5000}\n", ": a date or number in it is too long to be read"),
    ],
)
def test_the_first_wrong_line_is_named(tmp_path, text, told):
    with pytest.raises(SocietyFileError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'society.toml'}{told}")
    assert "\n" not in str(caught.value)


AUTHORITY = MINIMAL + "[authority]\n"
RULE = MINIMAL + "[[authority.rule]]\n"
PUBLIC = SigningKey(SigningKey.new()).public


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (AUTHORITY + "rules = 1\n", ":7: [authority] has no setting 'rules'; did you mean 'rule'?"),
        (AUTHORITY + "zzz = 1\n", ":7: [authority] has no setting 'zzz'; it has require_signature, sign"),
        (AUTHORITY + "sign = 1\n", ":7: [authority] sign: should be a valid boolean, not 1"),
        (AUTHORITY + "rule = []\n", ":7: [authority] rule: should name at least one, not []"),
        (AUTHORITY + "groups = 1\n", ":7: [authority] groups: "),
        (AUTHORITY + "groups.office = []\n", ":7: [authority] groups.office: should name at least one"),
        (
            AUTHORITY + "[authority.groups]\noffice = [\n'ann@x',\n'@others']\n",
            ":8: group 'office': '@others' is no pattern: write ann@example.org, *@example.org, * for "
            "anybody, or no further group",
        ),
        (
            AUTHORITY + "groups.society = ['*']\n",
            ":7: the group @society is there already: the agents of this file; choose another name",
        ),
        (
            AUTHORITY + "[authority.keys]\n'*@x' = ''\n",
            ":8: [authority.keys]: '*@x' is no bare JID; write e.g. 'ann@example.org'",
        ),
        (
            AUTHORITY + "[authority.keys]\n'ann@x' = 'ed25519:AAAA'\n",
            ":8: [authority.keys] ann@x: that is no public key: write one as `locution check` shows",
        ),
        (RULE + "acts = ['request']\n", ":6: rule 1 of [authority] needs a who"),
        (RULE + "who = []\n", ":7: rule 1 of [authority] who: should name at least one, not []"),
        (RULE + "who = '*'\n", ":7: rule 1 of [authority] who: "),
        (RULE + "who = ['*']\nact = ['cfp']\n", ":8: rule 1 of [authority] has no setting 'act'; did you"),
        (RULE + "who = ['*']\nacts = []\n", ":8: rule 1 of [authority] acts: should name at least one"),
        (
            RULE + "who = ['ann']\n",
            ":7: rule 1 of [authority] who: 'ann' is no pattern: write ann@example.org, *@example.org, * for "
            "anybody, or @group for a group",
        ),
        (RULE + "who = ['ann@x/1']\n", ":7: rule 1 of [authority] who: 'ann@x/1' is no pattern"),
        (
            RULE + "who = ['*']\n[[authority.rule]]\nwho = ['*']\nacts = ['request', 'requst']\n",
            ":10: rule 2 of [authority] acts: FIPA has no act 'requst'; did you mean 'request'?",
        ),
        (
            RULE + "who = ['*']\nprotocols = ['fipa-reqest']\n",
            ":8: rule 1 of [authority] protocols: FIPA has no protocol 'fipa-reqest'; did you mean 'fipa-req",
        ),
        (RULE + "who = ['*']\nacts = ['zzz']\nprotocols = ['zzz']\n", ":8: rule 1 of [authority] acts: "),
        (RULE + "who = ['*']\nreceivers = [1]\n", ":8: rule 1 of [authority] receivers.0: should be a valid"),
    ],
)  # fmt: skip
def test_the_first_wrong_line_of_the_policy_is_named(tmp_path, text, told):
    with pytest.raises(SocietyFileError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'society.toml'}{told}")
    assert "\n" not in str(caught.value)


def test_without_a_policy_the_own_domain_may_say_everything(tmp_path):
    policy = read(tmp_path, MINIMAL).policy
    assert not policy.is_written
    assert policy.rules == (Rule(who=("*@localhost",)),)
    policy = read(tmp_path, AUTHORITY + "require_signature = true\n").policy
    assert policy.require_signature
    assert policy.rules == (Rule(who=("*@localhost",)),)


def test_a_policy_is_read_as_it_is_written(tmp_path):
    file = read(
        tmp_path,
        MINIMAL
        + """
[[authority.rule]]
who = ["@society"]
[[authority.rule]]
who = ["@office", "*@x"]
receivers = ["one", "absent"]
acts = ["request", "inform"]
protocols = ["fipa-auction-english", "none"]
actions = ["train"]
require_signature = true
[authority.groups]
office = ["ann@x"]
""",
    )
    policy = file.policy
    assert policy.is_written
    assert policy.groups == {"office": ("ann@x",), "society": ("one@localhost", "operator@localhost")}
    assert policy.rules == (
        Rule(who=("@society",)),
        Rule(
            who=("@office", "*@x"),
            receivers=frozenset({"one@localhost"}),
            acts=frozenset({Performative.REQUEST, Performative.INFORM}),
            protocols=frozenset({"fipa-english-auction", "none"}),
            actions=frozenset({"train"}),
            require_signature=True,
        ),
    )


def test_all_receivers_that_are_not_there_are_not_every_receiver(tmp_path):
    file = read(tmp_path, RULE + "who = ['*']\nreceivers = ['absent']\n")
    assert file.policy.rules[0].receivers == frozenset()


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("", False),
        ("require_signature = true", True),
        ("sign = true", True),
        ("require_signature = true\nsign = false", False),
        ("rule = [{ who = ['*'] }, { who = ['*'], require_signature = true }]", True),
        ("rule = [{ who = ['*'] }]", False),
    ],
)
def test_agents_sign_where_somebody_asks_for_it(tmp_path, text, signs):
    authority = read(tmp_path, AUTHORITY + text + "\n").authority
    assert authority is not None
    assert authority.signs is signs


def test_keys_of_others_are_written_with_their_names(tmp_path):
    file = read(tmp_path, AUTHORITY + f"[authority.keys]\n'Ann@x' = '{PUBLIC}'\n")
    assert KnownKeys(file, StateFolder(tmp_path / "state"))("ann@x") == PUBLIC


def test_of_several_faults_the_first_line_is_named(tmp_path):
    with pytest.raises(SocietyFileError) as caught:
        read(tmp_path, "[dashboard]\nport = true\n" + MINIMAL + "[xmpp]\nport = false\n")
    assert caught.value.line == 2


def test_a_file_may_begin_with_the_mark_of_an_editor(tmp_path):
    path = written(tmp_path, "\ufeff" + MINIMAL)
    assert load(path, {}).society.name == "s"


def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "society.toml"
    os.mkfifo(path)
    with pytest.raises(SocietyFileError, match="this is no file but a pipe or a device"):
        load(path, {})


@pytest.mark.parametrize("port", ["9" * 5000, "\u00b2"])
def test_a_port_of_the_environment_may_be_no_number_at_all(tmp_path, port):
    with pytest.raises(SocietyFileError, match=r"^LOCUTION_XMPP_PORT: should be a valid integer"):
        read(tmp_path, MINIMAL, LOCUTION_XMPP_PORT=port)


def test_a_file_that_is_not_there_says_how_to_mend_it(tmp_path):
    with pytest.raises(SocietyFileError, match="there is no such file; name a society file with --file"):
        load(tmp_path / "absent.toml")


def test_a_file_that_cannot_be_read_is_told_so(tmp_path):
    with pytest.raises(SocietyFileError, match="it cannot be read: Is a directory"):
        load(tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b"[society]\nname = '\xe9'\n")
    with pytest.raises(SocietyFileError, match="not UTF-8"):
        load(path)


def test_a_society_file_does_not_change(tmp_path):
    file = read(tmp_path, MINIMAL)
    with pytest.raises(ValidationError):
        file.xmpp.port = 1  # type: ignore[misc]


def test_the_example_is_a_society_file():
    folder = Path(__file__).parents[2] / "examples"
    for example in folder.glob("*.toml"):
        assert load(example, {}).society.name == example.stem
