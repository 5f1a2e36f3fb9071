"""The commands, one in each file: the function with the name of the file.

`--help` shows its docstring, with the examples under "Example:". Its parameters before `*` are
positional arguments, those after it are options:

    def sample(run: str, *, count: int = 100, array: bool = False)   sample RUN --count 20 --array
    def compare(runs: list[str], *, particles: int = 1000)           compare RUN RUN --particles 500

`SECTIONS`, if its file has them, group the options and say which are common (`cli.helping`).

A command that takes its options from other functions defines two more functions in its file:

    add_options(parser)       adds them
    completed(options)        returns the given (name, value) pairs, with those that follow
"""

__all__ = ("PURPOSES",)

# How `pyrovae --help` groups the commands, in the order in which they are used.
PURPOSES = {
    "start": ("demo", "datasets", "data", "parts"),
    "train": ("fit", "fit-prior", "figures"),
    "evaluate": ("evaluate", "compare", "disentangle", "clusters"),
    "use": ("sample", "reconstruct", "score", "impute", "complete", "denoise", "enlarge", "edit"),
    "explore": ("explore", "traverse"),
    "search": ("search", "sweep", "bandit"),
    "tools": ("share", "export", "completion"),
}
