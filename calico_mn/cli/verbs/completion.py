"""``completion``: the script for a shell, and ``_complete``, which that script asks."""

from __future__ import annotations

import argparse
import contextlib
import sys

from calico_mn.cli.output import say
from calico_mn.cli.verb import OK, SHELLS, Verb, completes
from calico_mn.cli.verbs.files import GROUP

SCRIPTS = {
    "bash": """\
# calico-mn in bash: eval "$(calico-mn completion bash)"
_calico_mn() {
    local IFS=$'\\n' cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=($("${COMP_WORDS[0]}" _complete -- "${words[@]}" 2>/dev/null))
    if [[ ${COMPREPLY[0]} == :files ]]; then
        COMPREPLY=($(compgen -f -X '!*.yaml' -- "$cur"; compgen -f -X '!*.yml' -- "$cur"
                     compgen -d -- "$cur"))
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _calico_mn calico-mn
""",
    "zsh": """\
#compdef calico-mn
# calico-mn in zsh: eval "$(calico-mn completion zsh)", after compinit
_calico_mn() {
    local -a found
    found=("${(@f)$("${words[1]}" _complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ ${found[1]} == :files ]]; then
        _files -g '*.(yaml|yml)'
    else
        compadd -- ${found:#}
    fi
}
compdef _calico_mn calico-mn
""",
    "fish": """\
# calico-mn in fish: calico-mn completion fish | source
function __calico_mn
    set -l typed (commandline -opc) (commandline -ct)
    set -l found ($typed[1] _complete -- $typed[2..-1] 2>/dev/null)
    if test "$found[1]" = :files
        __fish_complete_suffix .yaml
    else
        printf '%s\\n' $found
    end
end
complete -c calico-mn -f -a '(__calico_mn)'
""",
}


def _add(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("shell", choices=tuple(SCRIPTS), metavar="SHELL",
                                  help="bash, zsh or fish"), SHELLS)


def _completion(options: argparse.Namespace) -> int:
    sys.stdout.write(SCRIPTS[options.shell])
    return OK


def _add_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*")


def _complete(options: argparse.Namespace) -> int:
    """Candidates, one a line; silence whatever goes wrong: somebody is typing."""
    from calico_mn.cli.complete import candidates

    with contextlib.suppress(Exception):
        for one in candidates(options.command):
            say(one)
    return OK


VERBS = {
    "completion": Verb(
        "completion", GROUP, "make the shell's Tab complete verbs, files, nodes and pods",
        "Prints a script for bash, zsh or fish. Tab then completes verbs, options, topology "
        "files, and the names of running nodes and pods. Those only root can see: without root "
        "they come from 'sudo -n', where sudo needs no password at the moment.",
        _add, run=_completion,
        examples=(('eval "$(calico-mn completion bash)"', "in ~/.bashrc"),
                  ('eval "$(calico-mn completion zsh)"', "in ~/.zshrc, after compinit"),
                  ("calico-mn completion fish | source", "in ~/.config/fish/config.fish"))),
    "_complete": Verb(
        "_complete", "", "", "What the shells' scripts ask.", _add_words, run=_complete,
        command=True),
}
