"""Which machines a fleet consists of: inventories of Ansible, patterns of names in ssh's configuration."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xedge.errors import InputError, UsageError, XedgeError
from xedge.remote.address import Address
from xedge.remote.inventory import MOST_HOSTS, read_inventory
from xedge.remote.naming import addresses
from xedge.remote.ssh_config import matching_hosts

INVENTORY = """\
# hosts of no group come first
bench ansible_connection=ssh
[pis]
pi[01:03].lab ansible_user="pi"   # three of them
pi9:2222 ansible_python_interpreter=/usr/bin/python3.11

[jetsons]
orin-[a:b] ansible_host=10.0.0.7

[boards:children]
pis
jetsons
[boards:vars]
ansible_user = edge
ansible_ssh_common_args='-o "ProxyJump gate"'
[jetsons:vars]
ansible_user=nvidia
ansible_ssh_private_key_file=/keys/orin
[all:vars]
ansible_python_interpreter=auto_silent
ansible_user=everyone
http_port=80
"""


def test_an_inventory_is_read_as_ansible_reads_it(tmp_path: Path) -> None:
    """What each host must be was found out with ``ansible-inventory --list`` of ansible-core 2.19.14."""
    path = tmp_path / "boards.ini"
    path.write_text(INVENTORY)
    jump = ("-o", "ProxyJump gate")
    pis = [Address(name=f"pi0{n}.lab", destination=f"pi@pi0{n}.lab", options=jump) for n in (1, 2, 3)]
    orins = [
        Address(name=f"orin-{c}", destination="nvidia@10.0.0.7", options=("-i", "/keys/orin", *jump)) for c in "ab"
    ]
    assert read_inventory(path) == [
        Address(name="bench", destination="everyone@bench"),
        *pis,
        Address(name="pi9", destination="edge@pi9", options=("-p", "2222", *jump), python="/usr/bin/python3.11"),
        *orins,
    ]


REFUSED = {
    "nothing": ("# only a comment\n", "names no host"),
    "YAML": ("all:\n  hosts:\n", r"line 1: is not in INI format, but YAML"),
    "a document of YAML": ("---\n", "line 1: is not in INI format"),
    "JSON": ('{"all": {}}\n', "line 1: is not in INI format"),
    "a host without a name": ("[pis]\n'' ansible_user=pi\n", "line 2: the host has no name"),
    "a host with a word": ("[pis]\npi4 fast\n", "line 2: 'fast' is not a variable"),
    "a variable without a value": ("[pis:vars]\nansible_user\n", "line 2: 'ansible_user' is not a variable"),
    "a quotation mark": ("pi4 ansible_user='pi\n", "line 1: a quotation mark is not closed"),
    "a long range": (f"pi[1:{MOST_HOSTS + 1}]\n", f"more than {MOST_HOSTS} hosts"),
    "an endless range": ("pi[1:99999999999999]\n", f"more than {MOST_HOSTS} hosts"),
    "a range of nothing": ("pi[3:1]\n", "a range of nothing"),
    "a range of words": ("pi[one:two]\n", "is not a range"),
    "an unknown group": ("pi4\n[boards:children]\npis\n", r"\[boards:children\] names 'pis'"),
    "a circle": ("[a]\npi4\n[a:children]\nb\n[b:children]\na\n", "is among its own children"),
    "a template": ("pi4 ansible_host={{address}}\n", "only Ansible can fill in"),
    "another connection": ("pi4 ansible_connection=local\n", "xedge only uses ssh"),
    "a port of words": ("pi4 ansible_port=ssh\n", "the port is 'ssh'"),
    "options that are no command line": ("pi4\n[all:vars]\nansible_ssh_extra_args=-o 'x\n", "not a command line"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_inventories_that_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "boards.ini"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as told:
        read_inventory(path)
    assert "boards.ini" in str(told.value)


def test_a_folder_and_bytes_are_no_inventory(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "bytes"):
        with pytest.raises(InputError, match="cannot be read as an inventory"):
            read_inventory(path)


LINES = st.text(alphabet="pi4[]:=#;'\" \n{}a1-\\vrschilden", max_size=80)


@given(text=LINES)
def test_any_text_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "boards.ini"
    path.write_text(text)
    with suppress(InputError):
        assert all(one.name and one.destination for one in read_inventory(path))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "lab").write_text("Host pi7 lab-pi\n")
    path = tmp_path / "config"
    path.write_text(
        f"Include {tmp_path}/more/*\nHost pi4 pi5  # two\n  User pi\nhost=pi9\nHost * !pi4 pi?\n  Port 22\n"
        "Match host pi88\nHost orin\n"
    )
    return path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("pi*", ["pi7", "pi4", "pi5", "pi9"]),
        ("pi?,orin", ["pi7", "pi4", "pi5", "pi9", "orin"]),
        ("*,!pi*", ["lab-pi", "orin"]),
        ("pi4", ["pi4"]),
        ("[p]i4,pi5", ["pi5"]),
    ],
)
def test_a_pattern_takes_the_hosts_of_the_configuration(pattern: str, names: list[str], config: Path) -> None:
    for program in (["ssh", "-F", str(config)], ["ssh", f"-F{config}"]):
        assert [one.name for one in matching_hosts(pattern, program)] == names


def test_a_pattern_that_nothing_matches_says_what_there_is(config: Path) -> None:
    with pytest.raises(InputError, match=r"boards\.ini: there is no such inventory, and no Host in .*config.*pi4"):
        matching_hosts("boards.ini", ["ssh", "-F", str(config)])


def test_machines_are_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "boards.ini"
    path.write_text("pi4 ansible_port=2222\n")
    assert [one.name for one in addresses(["pi5"], str(path))] == ["pi5", "pi4"]
    for on, fleet in ((["pi4"], str(path)), (["pi5", "pi5"], None)):
        with pytest.raises(UsageError, match="is named twice"):
            addresses(on, fleet)
    with pytest.raises(UsageError, match="no machine is named"):
        addresses([], None)
    monkeypatch.setenv("XEDGE_SSH", "ssh '")
    with pytest.raises(XedgeError, match="XEDGE_SSH"):
        addresses([], "pi*")
