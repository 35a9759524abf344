#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the example program of a man page, so that a test can compile it: man_example.py PAGE"""
import pathlib
import sys

lines = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
begin, end = lines.index(".EX"), lines.index(".EE")
for line in lines[begin + 1:end]:
    print(line.replace("\\-", "-").replace("\\e", "\\"))
