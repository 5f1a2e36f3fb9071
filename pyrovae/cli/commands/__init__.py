"""The commands, one in each file: the function that has the file's name.

Its docstring is what `--help` shows. Its parameters before `*` are given by words, those after it by options:

    def sample(run: str, *, count: int = 100, array: bool = False)      sample RUN --count 20 --array
    def compare(runs: list[str], *, particles: int = 1000)              compare RUN RUN --particles 500

A command whose options are those of other functions says so in two further functions of its file:

    add_options(parser)       adds them
    completed(options)        the (name, value) pairs that were given, with those that follow from them
"""

__all__ = ()
