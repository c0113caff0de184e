"""The shipped object belongs to the shipped source, and the kernel takes it."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from calico_mn.errors import UnsupportedError
from calico_mn.kernel import tunnel
from calico_mn.kernel.ebpf import program
from calico_mn.kernel.ebpf.program import sections
from calico_mn.kernel.ebpf.seal import Seals

DIRECTORY = program.OBJECT.parent
SHIPPED = sections(program.OBJECT.read_bytes())
PROGRAMS = [program.EGRESS, program.LO, program.INGRESS, program.REASSEMBLED,
            "helpers/probe", program.PEEK]


def text(section):
    return SHIPPED[section].rstrip(b"\0").decode()


def test_the_object_was_built_from_this_very_source():
    source = (DIRECTORY / "ipip.bpf.c").read_bytes()
    assert text("source_sha256") == hashlib.sha256(source).hexdigest(), (
        "ipip.bpf.c has changed since ipip.bpf.o was built: run build.sh there")


def test_the_object_is_small_and_tells_nothing_of_the_machine_that_built_it():
    data = program.OBJECT.read_bytes()
    assert len(data) < 12_000
    assert str(Path.home()).encode() not in data
    assert b".BTF" not in data and b".debug" not in data


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    if shutil.which("clang") is None:
        pytest.skip("rebuilding needs clang")
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("rebuilding needs bpf/bpf_helpers.h, from libbpf-dev")
    target = tmp_path_factory.mktemp("object") / "ipip.bpf.o"
    subprocess.run([DIRECTORY / "build.sh", target], check=True, timeout=60)
    found = sections(target.read_bytes())
    if found["compiler"] != SHIPPED["compiler"]:
        pytest.skip(f"the object was built by {text('compiler')}, and here is "
                    + found["compiler"].rstrip(b"\0").decode())
    return found


@pytest.mark.parametrize("section", [*PROGRAMS, "license", "source_sha256"])
def test_rebuilding_gives_the_same_instructions(rebuilt, section):
    assert rebuilt[section] == SHIPPED[section]


@pytest.mark.parametrize("section", PROGRAMS)
def test_the_verifier_accepts(needs_ebpf, section):
    with contextlib.closing(Seals()) as seals:
        descriptor = program.load(section, seals.descriptor)
        assert os.readlink(f"/proc/self/fd/{descriptor}") == "anon_inode:bpf-prog"
        os.close(descriptor)


def test_a_refused_program_is_reported_with_the_end_of_the_verifiers_log(needs_ebpf, monkeypatch):
    leave_without_result = bytes([0x95, 0, 0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(program, "sections", lambda _data: {"broken": leave_without_result})
    with pytest.raises(UnsupportedError) as refused:
        program.load("broken")
    first, *log = str(refused.value).splitlines()
    assert first == "this kernel does not accept the eBPF program broken: Permission denied"
    assert any("R0 !read_ok" in line for line in log)


def test_the_probe_leaves_the_caller_where_it_was(needs_ebpf):
    before = os.stat("/proc/thread-self/ns/net").st_ino, len(os.listdir("/proc/self/fd"))
    tunnel.ebpf_reason.cache_clear()
    assert tunnel.ebpf_reason() is None
    assert (os.stat("/proc/thread-self/ns/net").st_ino, len(os.listdir("/proc/self/fd"))) == before


def test_the_probe_says_which_architectures_are_known(needs_ebpf, monkeypatch):
    monkeypatch.setattr(program.platform, "machine", lambda: "riscv64")
    tunnel.ebpf_reason.cache_clear()
    try:
        assert tunnel.ebpf_reason() == (
            "loading eBPF programs on riscv64 is not supported; it is on x86_64 and aarch64")
    finally:
        tunnel.ebpf_reason.cache_clear()
