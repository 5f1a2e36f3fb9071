"""`completion`: a script that lets a shell complete commands, options and their values."""

from __future__ import annotations

from typing import Literal

from pyrovae.checks import one_of
from pyrovae.cli.completions import all_commands
from pyrovae.cli.shells import SCRIPTS
from pyrovae.errors import InputError

__all__ = ["completion"]


def completion(shell: Literal["bash", "zsh", "fish"] | None = None) -> None:
    """Print a script that completes commands in bash, zsh or fish.

    TAB then completes commands, options and their values: names of parts and of data sets, run
    folders and files. Write the script to a file, and load the file where your shell starts: by
    `. ~/.pyrovae.bash` in ~/.bashrc, or by `. ~/.pyrovae.zsh` in ~/.zshrc, after compinit. fish
    loads it by itself. Write it again after an update of PyroVAE.

    Arguments:
        shell: bash, zsh or fish.

    Example:
        pyrovae completion bash > ~/.pyrovae.bash
        pyrovae completion zsh > ~/.pyrovae.zsh
        pyrovae completion fish > ~/.config/fish/completions/pyrovae.fish
    """
    if shell is None:
        raise InputError("which shell? give bash, zsh or fish, as in `pyrovae completion bash`")
    one_of("shell", shell, tuple(SCRIPTS))
    print(SCRIPTS[shell](*all_commands()), end="")
