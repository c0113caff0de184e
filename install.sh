#!/bin/bash
# Installs what calico_mn needs, and runs its main experiment or its tests.
#
#   ./install.sh                 install only
#   ./install.sh run [ARG]...    install, then experiments/ipip_modes.py ARG... as root
#   ./install.sh test [ARG]...   install, also what the tests need, then pytest ARG... as root
#   ./install.sh develop         install, also what the tests need, and run nothing
#
# For Debian 12 and 13, Ubuntu 22.04 and 24.04, as root or as a user with sudo. Only what is
# missing is installed; when nothing is, nothing is printed. Python packages go into a virtual
# environment: .venv beside this file.
#
#   CALICO_MN_VENV=DIR   the virtual environment's place
#   PYTHON=PROGRAM       the Python that it is made with (3.10 to 3.13)
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
venv=$(realpath -m "${CALICO_MN_VENV:-$here/.venv}")
# A user's PATH on Debian lacks the directories of tcpdump, ethtool and modprobe.
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export PATH
# These would lead a virtual environment's Python astray.
unset PYTHONHOME PYTHONPATH

say() { printf 'install.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
have() { command -v "$1" >/dev/null; }

usage() {
    sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

# ---------------------------------------------------------------- who does what

# as_root COMMAND...: for the Debian packages, modprobe and the final program only.
as_root() {
    if [ "$EUID" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

can_be_root() { [ "$EUID" = 0 ] || have sudo; }

# as_owner COMMAND...: for everything that writes to the checkout. Under 'sudo ./install.sh' that
# is the user who called sudo, so that no file of root's is left in a user's checkout.
as_owner() {
    if under_sudo; then
        sudo -H -u "#$SUDO_UID" env "PATH=$PATH" "$@"
    else
        "$@"
    fi
}

under_sudo() {
    [ "$EUID" = 0 ] && [ "${SUDO_UID:-0}" != 0 ] && [ "$(stat -c %u "$here")" = "$SUDO_UID" ]
}

# quietly COMMAND...: shows a command's output only if it fails.
quietly() {
    local output
    if ! output=$("$@" 2>&1 </dev/null); then
        printf '%s\n' "$output" | tail -n 30 >&2
        return 1
    fi
}

# ---------------------------------------------------------------- Debian packages

required=()  # packages without which nothing runs
optional=()  # packages without which engine bird cannot be had, or some tests are skipped
lists_are_fresh=0

# want LIST PACKAGE PROGRAM: adds the package to the list if the program is not there.
want() {
    local -n list=$1
    have "$3" || list+=("$2")
}

find_missing_packages() {
    want required iproute2 ip
    want required iputils-ping ping
    want required iperf3 iperf3
    want required tcpdump tcpdump
    want required ethtool ethtool
    want required nftables nft  # packet filters; installed switched off
    want required iptables iptables-nft-restore  # network policies
    want required ipset ipset
    want required procps sysctl
    want required net-tools route # for 'route -n', typed into a node
    want required mininet mnexec  # PyPI's mininet lacks mnexec; Open vSwitch is only recommended
    want required kmod modprobe
    want optional bird2 bird  # engine bird: a BIRD in each node, none of this machine's own

    if python_is_installed; then
        :
    elif ! find_python; then
        required+=(python3 python3-venv)
    elif ! venv_is_usable && ! as_owner "$python" -c 'import ensurepip' 2>/dev/null; then
        required+=("python$(python_version "$python")-venv")
    fi
    [ "$tests" = 1 ] || return 0

    want optional clang clang # rebuilds the eBPF object
    [ -e /usr/include/bpf/bpf_helpers.h ] || optional+=(libbpf-dev)
    # Looks at report.html. Ubuntu has it as a snap only, which sees no files in /tmp.
    have google-chrome || want optional chromium chromium
    # The kernel's own ipip is tested in User-Mode Linux where it is not loaded here.
    [ -e /sys/module/ipip ] || will_load_ipip || want optional user-mode-linux linux.uml
}

install_packages() {
    local wanted=("${required[@]}" "${optional[@]}") absent=() available=() package
    [ ${#wanted[@]} -gt 0 ] || return 0
    if ! have apt-get; then
        [ ${#required[@]} -gt 0 ] || return 0
        die "no apt-get here; install by hand what these Debian packages hold: ${wanted[*]}"
    fi
    # What a distribution turned out not to have is not looked for again at each run.
    if [ ${#required[@]} = 0 ] && [ "${optional[*]}" = "$(cat "$venv/$absent_stamp" 2>/dev/null)" ]
    then
        return 0
    fi
    can_be_root || die "needs root to install ${wanted[*]}: run this as root, or install sudo"
    # By itself apt-get calls it a success when no server was reached.
    if quietly as_root apt-get update -q -o APT::Update::Error-Mode=any; then
        lists_are_fresh=1
    else
        say "apt-get update failed (see above); trying with the old lists"
    fi

    for package in "${wanted[@]}"; do
        if apt-cache policy "$package" | grep -q 'Candidate: [^(]'; then
            available+=("$package")
        else
            absent+=("$package")
        fi
    done
    for package in "${absent[@]}"; do
        case " ${required[*]} " in
        *" $package "*)
            [ "$lists_are_fresh" = 1 ] ||
                die "no package $package in the old lists: see to the network, then run this again"
            die "no package $package in this machine's apt sources (on Ubuntu: enable universe)"
            ;;
        esac
        say "no package $package in this machine's apt sources; the tests that need it are skipped"
    done
    [ ${#available[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${available[*]}"
    case " ${available[*]} " in
    *" chromium "*) say "chromium is large (120 MB to download, 410 MB on disk); only tests use it" ;;
    esac
    # Debian starts what bird2 brings for the machine itself: a masked unit stays off.
    case " ${available[*]} " in
    *" bird2 "*)
        [ -e /etc/systemd/system/bird.service ] || [ -L /etc/systemd/system/bird.service ] ||
            as_root sh -c 'mkdir -p /etc/systemd/system &&
                ln -s /dev/null /etc/systemd/system/bird.service'
        ;;
    esac
    # No question is asked (iperf3 has one), and no daemon comes along.
    quietly as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 \
        "${available[@]}" || die "apt-get install failed (see above)"
}

# ---------------------------------------------------------------- Python

python=

# find_python: sets $python to the absolute path of the first usable interpreter.
find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        # It must run, not only be there: pyenv has shims for versions that are switched off.
        python=$(as_owner "$candidate" -c '
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(1)
print(sys.executable)' 2>/dev/null) && return 0
    done
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is no Python 3.10 to 3.13"
    return 1
}

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Files in the virtual environment: that we made it, what was installed from what, and the
# optional packages that the distribution does not have.
made_stamp=calico_mn.made
base_stamp=calico_mn.base
test_stamp=calico_mn.test
absent_stamp=calico_mn.absent

venv_is_usable() {
    [ -x "$venv/bin/python" ] && as_owner "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        venv_version=$(python_version "$venv/bin/python") &&
        case $venv_version in 3.1[0-3]) ;; *) false ;; esac &&
        { [ -z "${PYTHON:-}" ] || [ "$venv_version" = "$(python_version "$PYTHON")" ]; }
}

# fingerprint: changes when the packages in the virtual environment have to be looked at again.
fingerprint() {
    printf '%s\n' "$here" "$venv"
    "$venv/bin/python" -c 'import sys; print(sys.version)'
    sha256sum <"$here/setup.py"
}

python_is_installed() {
    local stamp=$base_stamp
    [ "$tests" = 0 ] || stamp=$test_stamp
    [ -x "$venv/bin/python" ] && [ -e "$venv/$stamp" ] &&
        [ "$(fingerprint 2>/dev/null)" = "$(cat "$venv/$stamp")" ] &&
        { [ -z "${PYTHON:-}" ] ||
            [ "$(python_version "$PYTHON")" = "$(python_version "$venv/bin/python")" ]; }
}

make_venv() {
    if [ -d "$venv" ] && [ -n "$(ls -A "$venv")" ] && [ ! -e "$venv/$made_stamp" ]; then
        die "$venv is in the way: not a working environment of the wanted Python," \
            "and not made here; remove it, or set CALICO_MN_VENV"
    fi
    find_python || die "no Python 3.10 to 3.13 found; name one by PYTHON=..."
    say "making $venv with $python ($(python_version "$python"))"
    as_owner rm -rf "$venv"
    as_owner mkdir -p "$venv"
    as_owner touch "$venv/$made_stamp"
    quietly as_owner "$python" -m venv "$venv" ||
        die "$python cannot make a virtual environment (see above); name another by PYTHON=..."
}

install_python() {
    local target=$here
    [ "$tests" = 0 ] || target="${here}[test]"
    if python_is_installed; then
        return 0
    fi
    venv_is_usable || make_venv
    say "installing Python packages into $venv (a minute or so)"
    # PIP_USER: a person's pip.conf may ask for --user, which a virtual environment refuses.
    quietly as_owner env PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 \
        "$venv/bin/python" -m pip install -q -e "$target" ||
        die "pip install failed (see above); if the network was the reason, run this again"
    say "the command line is $venv/bin/calico-mn (docs/cli.md)"
    fingerprint | as_owner tee "$venv/$base_stamp" >/dev/null
    [ "$tests" = 0 ] || as_owner cp "$venv/$base_stamp" "$venv/$test_stamp"
}

# remember_absent: see install_packages.
remember_absent() {
    [ "$lists_are_fresh" = 1 ] || return 0
    required=() optional=()
    find_missing_packages
    [ "${optional[*]}" = "$(cat "$venv/$absent_stamp" 2>/dev/null)" ] ||
        printf '%s\n' "${optional[*]}" | as_owner tee "$venv/$absent_stamp" >/dev/null
}

# ---------------------------------------------------------------- the kernel's tunnel

# The eBPF back end needs Linux 6.7. Below that the kernel's ipip is needed, and it is loaded here
# and not by the program, because loading it adds a device, tunl0, to the machine's own namespace.
release=$(uname -r)

has_ebpf_tunnel() {
    local major minor
    IFS=.- read -r major minor _ <<<"$release"
    [ $((major * 1000 + ${minor%%[!0-9]*})) -ge 6007 ]
}

will_load_ipip() { ! has_ebpf_tunnel && modinfo ipip >/dev/null 2>&1; }

prepare_tunnel() {
    if has_ebpf_tunnel || [ -e /sys/module/ipip ]; then
        return 0
    fi
    if will_load_ipip && can_be_root && as_root modprobe ipip 2>/dev/null; then
        say "loaded the kernel module ipip (Linux $release is too old for the eBPF tunnel)"
    else
        say "Linux $release has no ipip module to load and is too old for the eBPF tunnel:" \
            "use Linux 6.7 or later, or install the module (Ubuntu: linux-modules-extra-$release)"
    fi
}

# ---------------------------------------------------------------- running

# run_as_root COMMAND...: becomes the command, or, where files that root makes in a user's
# checkout have to be given back afterwards, runs it and passes its exit status on.
run_as_root() {
    local name settings=() status=0 user=$EUID
    trap - INT TERM
    if [ "$EUID" = 0 ] && ! under_sudo; then
        exec "$@"
    fi
    can_be_root || die "needs root to run: run this as root, or install sudo"
    # sudo drops the environment; Calico's own variables are part of a topology.
    for name in "${!CALICO_@}"; do
        settings+=("$name=${!name}")
    done
    if under_sudo; then user=$SUDO_UID; fi
    touched_since=$(date +%s)
    owner=$user
    trap give_back EXIT
    as_root env "${settings[@]}" "PATH=$PATH" "$@" || status=$?
    exit "$status"
}

give_back() {
    as_root find "$here" "$venv" -xdev -path "$here/.git" -prune -o -user 0 \
        -newermt "@$touched_since" -exec chown -h "$owner" {} + || true
}

# How many processes run the tests. They wait for the kernel and for packets two thirds of the
# time, so it takes six to keep two processors busy.
test_processes() {
    local processors
    processors=$(nproc)
    echo $((processors < 2 ? 3 : 6))
}

# ---------------------------------------------------------------- main

# A function, so that bash has read the whole file before anything is done.
main() {
    local mode=${1:-install}
    [ $# = 0 ] || shift
    case $mode in
    install | run) tests=0 ;;
    test | develop) tests=1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    case $mode in
    install | develop) [ $# = 0 ] || { usage >&2; exit 2; } ;;
    esac

    trap 'say "interrupted; run this again to go on"; exit 130' INT
    trap 'say "ended; run this again to go on"; exit 143' TERM
    find_missing_packages
    install_packages
    # One at a time, should two terminals start at once. The lock is on this file: none is left over.
    (
        flock 9
        install_python
        [ "$tests" = 0 ] || remember_absent
    ) 9<"${BASH_SOURCE[0]}"
    prepare_tunnel

    case $mode in
    run)
        run_as_root "$venv/bin/python" "$here/experiments/ipip_modes.py" "$@"
        ;;
    test)
        cd "$here"
        # Hundreds of processes start; without bytecode each would compile all that it imports.
        unset PYTHONDONTWRITEBYTECODE
        # All of them on several processors; what is chosen by hand in one process, as usual.
        [ $# -gt 0 ] || set -- -n "$(test_processes)" --dist loadfile --no-loadscope-reorder
        run_as_root "$venv/bin/python" -m pytest "$@"
        ;;
    esac
}

main "$@"
exit
