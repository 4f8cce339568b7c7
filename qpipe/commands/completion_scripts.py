"""What a shell runs to complete `qpipe`: each hands on the line up to the cursor, and takes whole
words, one a line."""

from __future__ import annotations

# Readline hands over a part of a word where COMP_WORDBREAKS cuts it (at = and :), and puts the
# answer in the place of that part alone.
_BASH = r"""_qpipe_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" last word part
    last="${line##* }"
    part="${COMP_WORDS[COMP_CWORD]}"
    case "$part" in =|:) part="";; esac
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${word#"${last%"$part"}"}")
    done < <(COMP_LINE="$line" "${COMP_WORDS[0]}" -sc query=bash 2> /dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=.] ]]; then
        compopt -o nospace
    fi
}
complete -o default -o bashdefault -F _qpipe_complete qpipe"""

_ZSH = r"""_qpipe_complete() {
    local -a offered
    local line="${(j: :)words[1,CURRENT]}"
    offered=("${(@f)$(COMP_LINE="$line" ${words[1]} -sc query=zsh 2> /dev/null)}")
    offered=(${offered:#})
    if (( $#offered )); then
        compadd -Q -S '' -- ${(M)offered:#*[=.]}
        compadd -Q -- ${offered:#*[=.]}
    else
        _files
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _qpipe_complete qpipe"""

_FISH = r"""function __qpipe_complete
    set -lx COMP_LINE (commandline -cp | string collect)
    qpipe -sc query=fish 2> /dev/null
end
complete -c qpipe -a '(__qpipe_complete)'"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""By the shell's name."""
