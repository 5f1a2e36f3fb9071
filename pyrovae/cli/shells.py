"""Scripts that complete `pyrovae` in bash, zsh and fish.

A script is complete in itself: pressing TAB never starts Python. It is written from the commands,
so it is written again after an update. bash and zsh share functions that print what there is; fish
gets one line for each option.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pyrovae.cli.completions import DATA, Argument, Command, PartOptions

__all__ = ["SCRIPTS", "bash", "fish", "zsh"]


def bash(commands: Sequence[Command], parts: Sequence[PartOptions]) -> str:
    """The script for bash 3.2 or newer."""
    return "\n".join([_head("bash"), *_tables(commands, parts, described=False), _BASH])


def zsh(commands: Sequence[Command], parts: Sequence[PartOptions]) -> str:
    """The script for zsh."""
    return "\n".join(["#compdef pyrovae", _head("zsh"), *_tables(commands, parts, described=True), _ZSH])


def fish(commands: Sequence[Command], parts: Sequence[PartOptions]) -> str:
    """The script for fish 3 or newer."""
    names = [command.name for command in commands]
    lines = [_head("fish"), _FISH, "complete -c pyrovae -f"]
    for command in commands:
        lines.append(_fish("__pyrovae_at 1", f"-a {command.name} -d '{command.summary}'"))
        lines += [_fish_option(f"__pyrovae_in {command.name}", option) for option in command.options]
        lines += [_fish_word(command.name, word) for word in command.words if word.values]
    lines += [_fish("__pyrovae_at 2; and __pyrovae_in help", f"-a '{' '.join(names)}'")]
    for part in parts:
        lines += [_fish_option(f"__pyrovae_part {part.role} {part.name}", option) for option in part.options]
    return "\n".join([*lines, ""])


SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}


def _head(shell: str) -> str:
    return f"# Completion of pyrovae in {shell}, written by `pyrovae completion {shell}`."


# -------------------------------------------------------------------- bash and zsh


def _tables(commands: Sequence[Command], parts: Sequence[PartOptions], *, described: bool) -> Iterator[str]:
    """Functions that print commands, options, values, roles and the options of parts."""
    names = [(command.name, command.summary) for command in commands] + [("help", "help on a command")]
    shown = [_listed(name, about, described=described) for name, about in names]
    yield _function("_pyrovae_commands", [("*", shown)])
    yield _function(
        "_pyrovae_options",
        [(c.name, [_listed(o.name, o.about, described=described) for o in c.options]) for c in commands],
    )
    takes = [(f"{c.name}:{o.name}", o) for c in commands for o in (*c.options, *_numbered(c))]
    takes += [(f"{p.role}={p.name}:{o.name}", o) for p in parts for o in p.options]
    yield _function("_pyrovae_values", _grouped(takes))
    yield _function("_pyrovae_roles", [(c.name, list(c.roles)) for c in commands if c.roles])
    yield _function(
        "_pyrovae_part_options",
        [
            (f"{p.role}={p.name}", [_listed(o.name, o.about, described=described) for o in p.options])
            for p in parts
            if p.options
        ],
    )


def _numbered(command: Command) -> Iterator[Argument]:
    """The words of a command under the numbers by which a script asks for them."""
    for i, word in enumerate(command.words):
        yield Argument("[1-9]*" if word.is_list else str(i + 1), values=word.values)


def _listed(name: str, about: str, *, described: bool) -> str:
    return f"{name}:{about}" if described else name


def _grouped(takes: Iterable[tuple[str, Argument]]) -> list[tuple[str, list[str]]]:
    """What options take, each list once: "-" for an option without a value."""
    by_values: dict[tuple[str, ...], list[str]] = {}
    for name, option in takes:
        values = ("-",) if option.is_flag else option.values
        if values:
            by_values.setdefault(tuple(values), []).append(name)
    return [("|".join(names), list(values)) for values, names in by_values.items()]


def _function(name: str, cases: Iterable[tuple[str, list[str]]]) -> str:
    """A function that prints the lines of the case that its first argument matches."""
    lines = [f"{name}() {{", '  case "$1" in']
    for pattern, words in cases:
        quoted = " ".join(f"'{word}'" for word in words)
        lines.append(f"    {pattern}) printf '%s\\n' {quoted} ;;")
    return "\n".join([*lines, "  esac", "}"])


_DATA = " ".join(DATA)

_BASH = (
    r"""
_pyrovae_runs() {  # run folders, one or two folders below; else any folder
  local path found=
  for path in "$1"*/ "$1"*/*/; do
    if [[ -e ${path}config.yaml || -e ${path}best.ckpt ]]; then
      COMPREPLY+=("${path%/}"); found=1
    fi
  done
  [[ $found ]] || _pyrovae_names -d "$1"
}

_pyrovae_names() {  # names of files (-f) or folders (-d)
  local name
  compopt -o filenames 2> /dev/null
  while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen "$1" -- "$2")
}

_pyrovae_words() {  # the lines of the input that start with a word; ignoring case, if one does
  local word near=
  local -a loose=()
  while IFS= read -r word; do
    if [[ $word == "$1"* ]]; then COMPREPLY+=("$word"); fi
    shopt -s nocasematch
    if [[ $word == "$1"* ]]; then loose+=("$word"); fi
    shopt -u nocasematch
  done
  if (( ${#COMPREPLY[@]} == 0 && ${#loose[@]} == 1 )); then COMPREPLY=("${loose[0]}"); fi
}

_pyrovae_take() {  # what an option or a word takes
  case $1 in
    @run) compopt -o filenames 2> /dev/null; _pyrovae_runs "$2" ;;
    @data) _pyrovae_words "$2" < <(printf '%s\n' DATA); _pyrovae_names -f "$2" ;;
    @file) _pyrovae_names -f "$2" ;;
    *) _pyrovae_words "$2" <<< "$1" ;;
  esac
}

_pyrovae() {
  local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} option= part= word role i at=0 values=
  local -a parts=()
  COMPREPLY=()
  if [[ $cur == = ]]; then cur=; fi
  if (( COMP_CWORD == 1 )); then
    _pyrovae_words "$cur" < <(_pyrovae_commands '*'; printf '%s\n' --help --version)
    return
  fi
  if [[ $command == help ]]; then _pyrovae_words "$cur" < <(_pyrovae_commands '*'); return; fi
  for (( i = 2; i < COMP_CWORD; i++ )); do  # the words before: the last option, parts, how many words
    word=${COMP_WORDS[i]}
    case $word in
      =) ;;
      --*) option=$word ;;
      *)
        if [[ -n $option ]]; then
          for role in $(_pyrovae_roles "$command"); do
            if [[ $option == "--$role" ]]; then parts+=("$role=$word"); fi
          done
        else
          (( at++ ))
        fi
        option= ;;
    esac
    if [[ -n $option && $(_pyrovae_values "$command:$option") == - ]]; then option=; fi
  done
  if [[ $cur == -* ]]; then
    _pyrovae_words "$cur" < <(
      _pyrovae_options "$command"
      for part in "${parts[@]}"; do _pyrovae_part_options "$part"; done
    )
    return
  fi
  if [[ -n $option ]]; then
    values=$(_pyrovae_values "$command:$option")
    for part in "${parts[@]}"; do
      if [[ -z $values ]]; then values=$(_pyrovae_values "$part:$option"); fi
    done
  else
    values=$(_pyrovae_values "$command:$(( at + 1 ))")
    if [[ -z $values ]]; then values=$(_pyrovae_options "$command"); fi
  fi
  if [[ -n $values ]]; then _pyrovae_take "$values" "$cur"; fi
}

complete -F _pyrovae pyrovae
"""
).replace("DATA", _DATA)

_ZSH = (
    r"""
_pyrovae_runs() {  # run folders, one or two folders below; else any folder
  local -a found
  found=(${PREFIX}*/(N) ${PREFIX}*/*/(N))
  found=(${^found}{config.yaml,best.ckpt}(N:h))
  if (( $#found )); then compadd -f -U -M 'r:|/=*' -- ${(u)found}; else _files -/; fi
}

_pyrovae_take() {  # what an option or a word takes
  case $1 in
    @run) _pyrovae_runs ;;
    @data) compadd -- DATA; _files ;;
    @file) _files ;;
    *) compadd -M 'm:{a-zA-Z}={A-Za-z}' -- ${(f)1} ;;
  esac
}

_pyrovae() {
  local command=${words[2]} option= word role values= part
  local -a parts list
  local -i i at=0
  if (( CURRENT == 2 )); then
    list=(${(f)"$(_pyrovae_commands '*')"} '--help:the commands' '--version:the version')
    _describe command list
    return
  fi
  if [[ $command == help ]]; then
    list=(${(f)"$(_pyrovae_commands '*')"})
    _describe command list
    return
  fi
  for (( i = 3; i < CURRENT; i++ )); do  # the words before: the last option, parts, how many words
    word=${words[i]}
    if [[ $word == --*=* ]]; then
      option=${word%%=*}; word=${word#*=}
    elif [[ $word == --* ]]; then
      option=$word
      if [[ $(_pyrovae_values "$command:$option") == - ]]; then option=; fi
      continue
    fi
    if [[ -n $option ]]; then
      for role in ${(f)"$(_pyrovae_roles $command)"}; do
        if [[ $option == --$role ]]; then parts+=("$role=$word"); fi
      done
    else
      (( at++ ))
    fi
    option=
  done
  if [[ -z $option && $PREFIX == --*=* ]]; then
    option=${PREFIX%%=*}
    compset -P '*='
  elif [[ $PREFIX == -* ]]; then
    list=(${(f)"$(_pyrovae_options $command)"})
    for part in $parts; do list+=(${(f)"$(_pyrovae_part_options $part)"}); done
    _describe -o option list
    return
  fi
  if [[ -n $option ]]; then
    values=$(_pyrovae_values "$command:$option")
    for part in $parts; do
      if [[ -z $values ]]; then values=$(_pyrovae_values "$part:$option"); fi
    done
  else
    values=$(_pyrovae_values "$command:$(( at + 1 ))")
    if [[ -z $values ]]; then
      list=(${(f)"$(_pyrovae_options $command)"})
      _describe -o option list
      return
    fi
  fi
  if [[ -n $values ]]; then _pyrovae_take "$values"; fi
}

if [[ ${funcstack[1]} == _pyrovae ]]; then _pyrovae "$@"; else compdef _pyrovae pyrovae; fi
"""
).replace("DATA", _DATA)


# -------------------------------------------------------------------- fish


_FISH = r"""
function __pyrovae_at  # whether this many words are complete
    test (count (commandline -opc)) -eq $argv[1]
end

function __pyrovae_in  # whether the command is one of these
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

function __pyrovae_part  # whether an option has named a part, as in --prior GaussianMixture
    set -l words (string join " " -- (commandline -opc) "" | string replace -a = " ")
    string match -q -- "* --$argv[1] $argv[2] *" $words
end

function __pyrovae_runs  # run folders, one or two folders below
    set -l word (commandline -ct)
    for path in $word*/ $word*/*/
        if test -e {$path}config.yaml -o -e {$path}best.ckpt
            string replace -r '/$' '' -- $path
        end
    end
end
"""


def _fish(condition: str, rest: str) -> str:
    return f"complete -c pyrovae -n '{condition}' {rest}"


def _fish_option(condition: str, option: Argument) -> str:
    about = f" -d '{option.about}'" if option.about else ""
    return _fish(condition, f"-l {option.name[2:]}{about}{_fish_values(option)}")


def _fish_word(command: str, word: Argument) -> str:
    files = " -F" if word.values in (("@data",), ("@file",)) else ""
    return _fish(f"__pyrovae_in {command}", f"-a '{_fish_words(word)}'{files}")


def _fish_values(option: Argument) -> str:
    if option.is_flag:
        return ""
    takes_files = option.values in (("@data",), ("@file",))
    return f" {'-rF' if takes_files else '-x'} -a '{_fish_words(option)}'"


def _fish_words(argument: Argument) -> str:
    """The words that are offered for a value."""
    known = {"@run": "(__pyrovae_runs)", "@data": _DATA, "@file": ""}
    return " ".join(known.get(word, word) for word in argument.values)
