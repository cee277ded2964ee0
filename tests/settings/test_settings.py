"""Settings come from flag, variable, file or default, and a wrong one gives one line."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Family
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from rrwatch.calico.v1 import V1
from rrwatch.cli import options
from rrwatch.cli.options import unknown_settings, with_settings
from rrwatch.errors import UsageError
from rrwatch.roles import NodeRole, ReflectorRole
from rrwatch.settings.model import Settings, access_of, settings_of
from rrwatch.settings.table import SETTINGS, Unknown
from rrwatch.settings.values import Listen, LogFormat, LogLevel

Resolve = Callable[..., Settings]


@pytest.fixture
def resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Resolves settings from flags, a settings file's text, and variables."""
    monkeypatch.setattr(options, "SETTINGS_FILE", tmp_path / "absent.toml")

    def resolve(
        *flags: str,
        file: str | None = None,
        tell: Callable[[Iterable[Unknown]], object] = lambda _: None,
        **variables: str | None,
    ) -> Settings:
        resolved: list[Settings] = []

        def take(settings: Settings) -> None:
            resolved.append(settings)
            tell(unknown_settings())

        command = click.command()(with_settings(take, settings_of, warn=False))

        if file is not None:
            (tmp_path / "rrwatch.toml").write_text(file)
            flags = ("--settings", str(tmp_path / "rrwatch.toml"), *flags)
        environment = {"IP": "10.0.0.1"} | variables
        CliRunner().invoke(command, flags, env=environment, catch_exceptions=False, standalone_mode=False)
        return resolved[0]

    return resolve


BIRD = Target("bird", (Family.IPV4,), Path("/etc/bird/bird.cfg"), Path("/run/bird/bird.ctl"))
BIRD6 = Target("bird6", (Family.IPV6,), Path("/etc/bird/bird6.cfg"), Path("/run/bird/bird6.ctl"))


def test_defaults(resolve: Resolve) -> None:
    settings = resolve()
    own = IPv4Address("10.0.0.1")
    assert settings.role == ReflectorRole(own, Speaker({Family.IPV4: own}), V1)
    assert settings.bird_paths.targets(Grammar.BIRD1) == settings.bird_paths.targets(Grammar.BIRD2)
    assert settings.bird_paths.targets(Grammar.BIRD2) == (BIRD,)
    assert settings.grammar is None
    assert settings.etcd.endpoints == ("http://127.0.0.1:2379",)
    assert settings.templates is None
    assert settings.status_listen == Listen("127.0.0.1", 9817)
    assert (settings.min_interval, settings.resync_interval) == (0.25, 300)
    assert (settings.log_format, settings.log_level) == (None, LogLevel.INFO)


def test_flag_before_variable_before_file_before_default(resolve: Resolve) -> None:
    file = "min_interval = 3\nresync_interval = 30\nlog_level = 'error'\n"
    settings = resolve("--min-interval", "1", file=file, RRWATCH_MIN_INTERVAL="2", RRWATCH_RESYNC_INTERVAL="20")
    assert (settings.min_interval, settings.resync_interval) == (1, 20)
    assert settings.log_level is LogLevel.ERROR
    assert settings.log_format is None


def test_settings_file_by_variable(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("log_format = 'json'")
    assert resolve(RRWATCH_SETTINGS=str(tmp_path / "other.toml")).log_format is LogFormat.JSON


def test_a_list_in_the_file(resolve: Resolve) -> None:
    settings = resolve(file="etcd_endpoints = ['http://a:1', 'http://b:2']\nfamilies = [4]\n")
    assert settings.etcd.endpoints == ("http://a:1", "http://b:2")


def test_ipv6(resolve: Resolve) -> None:
    settings = resolve(IP6="FD00::1")
    assert settings.role == ReflectorRole(
        IPv4Address("10.0.0.1"),
        Speaker({Family.IPV4: IPv4Address("10.0.0.1"), Family.IPV6: IPv6Address("fd00::1")}),
        V1,
    )
    assert settings.bird_paths.targets(Grammar.BIRD1) == (BIRD, BIRD6)
    assert settings.bird_paths.targets(Grammar.BIRD2) == (replace(BIRD, families=(Family.IPV4, Family.IPV6)),)
    only6 = resolve(IP6="fd00::1", RRWATCH_FAMILIES="6").bird_paths
    assert only6.targets(Grammar.BIRD1) == (BIRD6,)
    assert only6.targets(Grammar.BIRD2) == (replace(BIRD, families=(Family.IPV6,)),)
    assert resolve(IP6="").bird_paths.targets(Grammar.BIRD1) == (BIRD,)


@pytest.mark.parametrize(
    ("text", "grammar"),
    [("1.6", Grammar.BIRD1), ("2", Grammar.BIRD2), ("3", Grammar.BIRD2), ("2.0.12", Grammar.BIRD2)],
)
def test_bird_version(resolve: Resolve, text: str, grammar: Grammar) -> None:
    assert resolve(RRWATCH_BIRD_VERSION=text).grammar is grammar


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"NODENAME": "n1", "HOSTNAME": "h1"}, "n1"),
        ({"NODENAME": "", "HOSTNAME": "h1"}, "h1"),
        ({"HOSTNAME": "h1"}, "h1"),
    ],
)
def test_node(resolve: Resolve, variables: dict[str, str], name: str) -> None:
    settings = resolve(RRWATCH_ROLE="node", IP="", **variables)
    assert settings.role == NodeRole(name, V1)
    assert settings.etcd_spread == 3
    assert settings.bird_paths.families == (Family.IPV4, Family.IPV6)


def test_the_addresses_of_a_calico_nodes_container_are_no_fault(resolve: Resolve) -> None:
    settings = resolve(RRWATCH_ROLE="node", NODENAME="n1", IP="autodetect", IP6="fd00::1/64")
    assert settings.role == NodeRole("n1", V1)


def test_node_is_named_as_its_host(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "this-host")
    assert resolve(RRWATCH_ROLE="node").role == NodeRole("this-host", V1)


@pytest.mark.parametrize(
    ("variables", "endpoints"),
    [
        ({"ETCD_ENDPOINTS": "http://a, https://b:1/,http://a:2379"}, ("http://a:2379", "https://b:1")),
        ({"ETCD_ENDPOINTS": "http://[fd00::1]:2379"}, ("http://[fd00::1]:2379",)),
        ({"ETCD_AUTHORITY": "172.17.42.30:2379"}, ("http://172.17.42.30:2379",)),
        ({"ETCD_AUTHORITY": "a:4001", "ETCD_SCHEME": "https"}, ("https://a:4001",)),
        ({"ETCD_AUTHORITY": "a:1", "ETCD_ENDPOINTS": "http://b:2"}, ("http://b:2",)),
    ],
)
def test_endpoints(resolve: Resolve, variables: dict[str, str], endpoints: tuple[str, ...]) -> None:
    assert resolve(**variables).etcd.endpoints == endpoints


def test_password_from_a_file(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    settings = resolve(ETCD_USERNAME="u", ETCD_PASSWORD_FILE=str(tmp_path / "password"))
    assert settings.etcd.password == "s3cret"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("value", "listen"), [("", None), ("127.0.0.1:0", Listen("127.0.0.1", 0)), ("[::1]:9", Listen("::1", 9))]
)
def test_status_listen(resolve: Resolve, value: str, listen: Listen | None) -> None:
    assert resolve(RRWATCH_STATUS_LISTEN=value).status_listen == listen
    assert resolve("--status-listen", value).status_listen == listen
    assert resolve(file=f"status_listen = '{value}'").status_listen == listen


def test_every_setting_by_flag_by_variable_and_by_file(resolve: Resolve, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    pem = tmp_path / "pem"
    pem.write_text("x")
    values = {
        "role": "reflector", "ip": "10.0.0.2", "ip6": "fd00::2", "nodename": "n", "families": "4,6",
        "datastore": "etcdv3", "model": "calico-v1", "listen_port": "1790", "reflectors": "10.0.0.3,fd00::3",
        "cluster_id": "1.0.0.1", "bgp_passwords": str(folder),
        "etcd_endpoints": "http://e:1", "etcd_authority": "e:1", "etcd_scheme": "https", "etcd_ca_cert_file": str(pem),
        "etcd_cert_file": str(pem), "etcd_key_file": str(pem), "etcd_username": "u", "etcd_password": "p",
        "etcd_password_file": str(pem),
        "config": "/a/b.cfg", "config6": "/a/b6.cfg", "bird_socket": "/a/b.ctl",
        "bird6_socket": "/a/b6.ctl", "custom_filters": "on", "templates": str(folder), "status_listen": "127.0.0.1:1",
        "session_metrics": "on", "min_interval": "1", "bird_version": "1.6", "bird_log": "syslog", "state_dir": "/s",
        "guard_percent": "60", "guard_min": "6", "etcd_watch_timeout": "7", "etcd_spread": "4",
        "resync_interval": "2", "log_format": "json", "log_level": "debug",
    }  # fmt: skip
    assert set(values) == {setting.name for setting in SETTINGS}
    flags = [part for name, value in values.items() for part in ("--" + name.replace("_", "-"), value)]
    file = "".join(f"{name} = '{value}'\n" for name, value in values.items())
    variables = {f"RRWATCH_{name.upper()}": value for name, value in values.items()}
    older = variables | {"IP": "192.0.2.1", "ETCD_ENDPOINTS": "http://older:1", "NODENAME": "older"}

    by_flag, by_file, by_variable = resolve(*flags), resolve(file=file, IP=None), resolve(**variables)

    assert by_flag == by_file == by_variable == resolve(**older)
    assert by_flag.role == ReflectorRole(
        IPv4Address("10.0.0.2"),
        Speaker(
            {Family.IPV4: IPv4Address("10.0.0.2"), Family.IPV6: IPv6Address("fd00::2")},
            1790,
            (IPv4Address("10.0.0.3"), IPv6Address("fd00::3")),
            IPv4Address("1.0.0.1"),
        ),
        V1,
    )
    assert by_flag.log_format is LogFormat.JSON


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"IP": None}, "ip is not set: the reflector role needs its IPv4 address, --ip or the variable IP"),
        ({"IP": "10.0.0"}, "ip is '10.0.0': '10.0.0' is not an IPv4 address"),
        ({"IP6": "10.0.0.1"}, "ip6 is '10.0.0.1': '10.0.0.1' is not an IPv6 address"),
        ({"RRWATCH_FAMILIES": "6"}, "ip6 is not set: families has 6"),
        ({"RRWATCH_FAMILIES": "5"}, "RRWATCH_FAMILIES is '5': want 4, 6 or 4,6"),
        ({"RRWATCH_ROLE": "both"}, "RRWATCH_ROLE is 'both': want reflector or node"),
        ({"NODENAME": "", "HOSTNAME": "a/b"}, "HOSTNAME is 'a/b': want the name of a node"),
        ({"ETCD_ENDPOINTS": "etcd:2379"}, "ETCD_ENDPOINTS is 'etcd:2379': want URLs like http://127.0.0.1:2379"),
        ({"ETCD_ENDPOINTS": "http://u:p@e"}, "want no user or password in it"),
        ({"ETCD_ENDPOINTS": "http://e:port"}, "ETCD_ENDPOINTS is 'http://e:port': want URLs"),
        ({"ETCD_ENDPOINTS": " , "}, "want URLs"),
        ({"ETCD_AUTHORITY": "http://e"}, "ETCD_AUTHORITY is 'http://e': want host:port"),
        ({"ETCD_CA_CERT_FILE": "/no/such"}, "ETCD_CA_CERT_FILE is '/no/such': want a file that can be read: No such"),
        ({"ETCD_USERNAME": "u"}, "only one of etcd_username and etcd_password is set"),
        ({"ETCD_PASSWORD": "p"}, "only one of etcd_username and etcd_password is set"),
        ({"ETCD_CERT_FILE": "/dev/null"}, "only one of etcd_cert_file and etcd_key_file is set"),
        ({"RRWATCH_CONFIG": "bird.cfg"}, "RRWATCH_CONFIG is 'bird.cfg': want an absolute path"),
        ({"RRWATCH_CONFIG": '/a"b'}, "want an absolute path"),
        ({"RRWATCH_IP": "10.0.0"}, "ip is '10.0.0': '10.0.0' is not an IPv4 address"),
        ({"RRWATCH_ETCD_ENDPOINTS": "etcd:2379"}, "RRWATCH_ETCD_ENDPOINTS is 'etcd:2379': want URLs"),
        ({"RRWATCH_BIRD_LOG": "bird.log"}, "RRWATCH_BIRD_LOG is 'bird.log': want syslog, stderr, or the absolute path"),
        ({"RRWATCH_BIRD_LOG": '/var/log/"'}, "want syslog, stderr, or the absolute path"),
        ({"RRWATCH_CONFIG6": "/etc/bird/bird.cfg"}, "config and config6 are both /etc/bird/bird.cfg"),
        ({"RRWATCH_BIRD_SOCKET": "/" + "x" * 107}, "want at most 107 bytes"),
        ({"RRWATCH_CUSTOM_FILTERS": "yes"}, "RRWATCH_CUSTOM_FILTERS is 'yes': want on or off"),
        ({"RRWATCH_TEMPLATES": "/no/such"}, "RRWATCH_TEMPLATES is '/no/such': want a directory that exists"),
        ({"RRWATCH_STATUS_LISTEN": "9817"}, "want address:port, or nothing"),
        ({"RRWATCH_STATUS_LISTEN": "a:99999"}, "want address:port, or nothing"),
        ({"RRWATCH_MIN_INTERVAL": "fast"}, "RRWATCH_MIN_INTERVAL is 'fast': want a number of seconds from 0"),
        ({"RRWATCH_MIN_INTERVAL": "-1"}, "want a number of seconds from 0"),
        ({"RRWATCH_MIN_INTERVAL": "nan"}, "want a number of seconds from 0"),
        ({"RRWATCH_RESYNC_INTERVAL": "0"}, "want a number of seconds from 1 to 86400"),
        ({"RRWATCH_LOG_LEVEL": "loud"}, "RRWATCH_LOG_LEVEL is 'loud': want debug or info or warning or error"),
        ({"RRWATCH_SETTINGS": "/no/such.toml"}, "there is no settings file /no/such.toml"),
        ({"RRWATCH_TEMPLATES": "/" + "x" * 5000}, "want a directory that exists"),
        ({"ETCD_AUTHORITY": "[::1"}, "ETCD_AUTHORITY is '[::1': want host:port"),
        ({"ETCD_ENDPOINTS": "http://[::1"}, "ETCD_ENDPOINTS is 'http://[::1': want URLs"),
        ({"RRWATCH_GUARD_MIN": "9" * 5000}, "want a whole number from 0 to 1000000"),
        ({"ETCD_USERNAME": "u", "ETCD_PASSWORD_FILE": "/"}, "ETCD_PASSWORD_FILE is '/': want a file that can be read"),
    ],
)
def test_refused_in_one_line(resolve: Resolve, variables: dict[str, str | None], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(**variables)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("min_interval = 'x'", "rrwatch.toml is 'x': want a number of seconds"),
        ("ip = true", "rrwatch.toml is True: want a string, a number or a list"),
        ("ip = ", "is not TOML"),
        ("guard_min = [1, [2]]", "rrwatch.toml is [1, [2]]: want a string, a number or a list of them"),
        ("guard_min = inf", "rrwatch.toml is 'inf': want a whole number"),
        (f"guard_min = {'9' * 5000}", "is not TOML"),
        (f"guard_min = 0x{'9' * 5000}", "rrwatch.toml has a number with too many digits"),
        (f"guard_min = {'[' * 5000}", "nested too deeply"),
        ("etcd_ca_cert_file = 'a\\u0000b'", "want a file that can be read"),
        ('etcd_ca_cert_file = "a\\u0000b"', "want a file that can be read: the path has a NUL"),
    ],
)
def test_refused_in_the_file(resolve: Resolve, file: str, line: str) -> None:
    with pytest.raises(UsageError, match=r"rrwatch\.toml") as caught:
        resolve(file=file)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"ETCD_ENDPOINTS": "http://root:s3cret@10.0.0.1:2379"},
        {"ETCD_ENDPOINTS": "root:s3cret@10.0.0.1:2379"},
        {"ETCD_ENDPOINTS": "http://root:a/s3cret@b@10.0.0.1:2379"},
        {"ETCD_ENDPOINTS": "http://10.0.0.2:2379,http://root:s3cret@10.0.0.1:2379"},
        {"ETCD_AUTHORITY": "root:s3cret@10.0.0.1:2379"},
        {"ETCD_AUTHORITY": "root:a/s3cret@10.0.0.1:2379"},
    ],
)
def test_a_password_in_a_url_is_not_printed(resolve: Resolve, variables: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(**variables)
    assert "'***@10.0.0.1:2379': want " in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", [".", ".."])
def test_a_node_name_that_no_key_can_have(resolve: Resolve, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be"):
        resolve(RRWATCH_ROLE="node", NODENAME=name)


class TestPasswordFile:
    def test_its_last_line_end_is_not_part_of_it(self, resolve: Resolve, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("gehe\u00efm \n", encoding="utf-8")
        settings = resolve(ETCD_USERNAME="u", ETCD_PASSWORD_FILE=str(tmp_path / "password"))
        assert settings.etcd.password == "gehe\u00efm "

    def test_that_is_not_utf8(self, resolve: Resolve, tmp_path: Path) -> None:
        (tmp_path / "password").write_bytes(b"s\xff3cret")
        with pytest.raises(UsageError) as caught:
            resolve(ETCD_USERNAME="u", ETCD_PASSWORD_FILE=str(tmp_path / "password"))
        assert str(caught.value) == f"etcd_password_file is '{tmp_path}/password': want a text file in UTF-8"

    def test_that_is_gone_when_it_is_read(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            access_of({"etcd_username": "u", "etcd_password_file": tmp_path / "gone"})
        assert str(caught.value).startswith(
            f"etcd_password_file is '{tmp_path}/gone': want a file that can be read: No"
        )


def test_a_flag_is_named_as_a_flag(resolve: Resolve) -> None:
    with pytest.raises(UsageError, match=r"^--min-interval is 'x'"):
        resolve("--min-interval", "x")


def test_what_is_no_setting_is_named_and_does_no_harm(resolve: Resolve, tmp_path: Path) -> None:
    told: list[Unknown] = []
    place = tmp_path / "rrwatch.toml"
    file = "log_level = 'error'\nmin_intervall = 1\nzz = true\n[etcd]\na = 1"
    variables = {"RRWATCH_GUARD_MNI": "1", "RRWATCH_ETCD_ENDPOINTS": "http://e:1"}

    settings = resolve(file=file, tell=told.extend, **variables)

    assert settings.log_level is LogLevel.ERROR
    assert list(map(str, told)) == [
        "RRWATCH_GUARD_MNI in the environment is not a setting and has no effect: did you mean RRWATCH_GUARD_MIN?",
        f"min_intervall in {place} is not a setting and has no effect: did you mean min_interval?",
        f"zz in {place} is not a setting and has no effect: `rrwatch run --help` lists all settings",
        f"etcd in {place} is not a setting and has no effect: `rrwatch run --help` lists all settings",
    ]


@pytest.mark.parametrize(
    "name",
    ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_STATUS", "PORT", "PORT_9817_TCP", "PORT_9817_TCP_ADDR",
     "STATUS_SERVICE_HOST", "STATUS_PORT_9817_UDP_PROTO"],
)  # fmt: skip
def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_mistake(resolve: Resolve, name: str) -> None:
    told: list[Unknown] = []
    resolve(tell=told.extend, **{f"RRWATCH_{name}": "tcp://10.0.0.1:9817"})
    assert told == []


@pytest.mark.parametrize(
    ("text", "statement"), [("syslog", "syslog"), ("stderr", "stderr"), ("/var/log/bird log", '"/var/log/bird log"')]
)
def test_bird_log(resolve: Resolve, text: str, statement: str) -> None:
    assert str(resolve(RRWATCH_BIRD_LOG=text).bird_paths.log) == statement
