#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keep the section COMMANDS of coffer.1 in step with the command's own help: make_man.py COFFER PAGE [--check]

Writes PAGE anew; with --check only says whether it is what it should be."""
import pathlib
import re
import subprocess
import sys
import textwrap


def say(coffer, *words):
    return subprocess.run([coffer, *words], capture_output=True, text=True, check=True).stdout


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in ".'" else text


def capital(text):
    return text[:1].upper() + text[1:]


def sentence(text):
    """A sentence a line, each broken at 79 columns."""
    lines = []
    for one in re.split(r"(?<=[.?!])  ?(?=[A-Z`])", capital(text)):
        lines += textwrap.wrap(one, 79, break_on_hyphens=False, break_long_words=False)
    return [roff(line) for line in lines]


def options(text):
    """[(name, value, help)] of a block of option lines."""
    found = []
    for line in text.splitlines():
        m = re.match(r"  --(\S+)(?: (\S+))?(?: {2,}(.*))?$", line)
        if m:
            found.append([m[1], m[2], [m[3]] if m[3] else []])
        elif line.strip() and found:
            found[-1][2].append(line.strip())
    return [(n, v, " ".join(h)) for n, v, h in found]


def command(coffer, name):
    screen = say(coffer, "help", *name.split())
    head, _, rest = screen.partition("\n\nUsage: ")
    summary = head.split(": ", 1)[1]
    body = rest.split("\nCommon options:")[0]
    body, _, own = body.partition("\nOptions:\n")
    usage, _, details = body.partition("\n\n")
    out = [f".Ss {roff(name)}", ".D1 " + roff(" ".join(usage.split())), *sentence(summary + ".")]
    examples = []
    for block in re.split(r"\n(?=\n|  )", details.strip("\n")):
        for line in block.split("\n\n"):
            if line.strip("\n").startswith("  "):
                examples += [l.strip() for l in line.splitlines() if l.strip()]
            elif line.strip():
                out += sentence(" ".join(line.split("\n")).strip())
    if examples:
        out += [".Bd -literal -offset indent", *map(roff, examples), ".Ed"]
    if own:
        out.append(".Bl -tag -width Ds")
        for option, value, text in options(own):
            out.append(f".It Fl {roff('-' + option)}" + (f" Ar {roff(value)}" if value else ""))
            out += sentence(text + ".")
        out.append(".El")
    return out


def main():
    coffer, page = sys.argv[1], pathlib.Path(sys.argv[2])
    overview = say(coffer, "help")
    names = re.findall(r"^  (\S+(?: \S+)?)  +\S", overview.split("\n\nBegin with")[0], re.M)
    old = page.read_text(encoding="utf-8")
    begin = old.index(".Sh COMMANDS\n") + len(".Sh COMMANDS\n")
    end = old.index("\n.Sh ", begin)
    lines = [line for name in names for line in command(coffer, name)]
    new = old[:begin] + "\n".join(lines) + old[end:]
    if sys.argv[3:] != ["--check"]:
        page.write_text(new, encoding="utf-8")
    elif new != old:
        here = next(i for i, (a, b) in enumerate(zip(old + "\0", new + "\0")) if a != b)
        sys.exit(f"{page} is not in step with the help; run tools/make_man.py. It differs at: {new[here - 40:here + 40]!r}")


main()
