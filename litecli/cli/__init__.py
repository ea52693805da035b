"""The command line: parse, call, render.

app.py              which commands there are
boundary.py         exceptions to messages and exit codes
ctrl_c.py           what Ctrl-C does
options.py          the options every command has
help.py             the look of --help
output.py           the one place that writes
texts.py            names, numbers, sizes as people read them
targets.py          where a command may write
adapt.py            learn the objects of a folder
adapt_output.py     what adapt tells
engine.py           which library runs the network
classify.py         name what is in photos
photo_arguments.py  which photos it was given
stdin_paths.py      paths that come on stdin
answers.py          the forms of one answer
answer_table.py     the CSV file of answers
answer_page.py      the page of answers
report.py           what a profile knows, as a page
profiles.py         list, choose, rename, undo
models.py           list, fetch, add, use
demo.py             the main job on drawn objects
evaluate.py         accuracy on few-shot tasks
audit.py            support gradients examined
meta_train.py       train a model
train_config.py     defaults, config file, flags: its settings
train_ranges.py     what they may be
train_progress.py   how its events are shown
doctor.py           what this machine offers
"""

from litecli.cli.boundary import main

__all__ = ["main"]
