"""Texts of the user: what is taken for what, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from kernelcalc import datasets
from kernelcalc.errors import InputError, NotFiniteError
from tests.datasets.points import X, check, read

# Text: points and labels (None: there are none) that a reader of the text expects.
READ = {
    "the last column is no label": ("1.5,2,0\n3,4,1\n5,-6.25,1\n", {}, [[1.5, 2, 0], [3, 4, 1], [5, -6.25, 1]], None),
    "not with names either": ("a,b\n1.5,2\n3,4\n5,-6.25\n", {}, X, None),
    "one column": ("1.5\n2\n", {}, [[1.5], [2]], None),
    "one row": ("1,2,3\n", {}, [[1, 2, 3]], None),
    "rows of whole numbers": ("1,2,3\n4,5,6\n7,8,9\n", {}, [[1, 2, 3], [4, 5, 6], [7, 8, 9]], None),
    "the last column asked for": ("1.5,2,0\n3,4,1\n5,-6.25,1\n", {"labels": "last"}, X, [0, 1, 1]),
    "by its number": ("0,1.5,2\n1,3,4\n1,5,-6.25\n", {"labels": 0}, X, [0, 1, 1]),
    "by its number from the end": ("1.5,0,2\n3,1,4\n5,1,-6.25\n", {"labels": "-2"}, X, [0, 1, 1]),
    "by its name": ("a,b,c\n1.5,2,0\n3,4,1\n5,-6.25,1\n", {"labels": "c"}, X, [0, 1, 1]),
    "by its name in another case": ("a,b,C\n1.5,2,0\n3,4,1\n5,-6.25,1\n", {"labels": "c"}, X, [0, 1, 1]),
    "none although named": ("a,y\n1.5,2\n3,4\n5,-6.25\n", {"labels": "none"}, X, None),
    "two columns": ("a,u,v\n1,0.5,2\n3,0.25,4\n", {"labels": ["u", "v"]}, [[1], [3]], [[0.5, 2], [0.25, 4]]),
    "text labels without names": ("1.5,2,x\n3,4,y\n5,-6.25,x\n", {}, X, ["x", "y", "x"]),
    "text labels in the first column": ("x,1.5,2\ny,3,4\nx,5,-6.25\n", {}, X, ["x", "y", "x"]),
    "text labels, all different": ("1.5,2,x\n3,4,y\n5,-6.25,z\n", {}, X, ["x", "y", "z"]),
    "text labels y and n": ("1.5,2,y\n3,4,n\n5,-6.25,n\n", {}, X, ["y", "n", "n"]),
    "names above text labels": ("u,v,kind\n1.5,2,x\n3,4,y\n5,-6.25,x\n", {}, X, ["x", "y", "x"]),
    "pandas index": (",a,b\n0,1.5,2\n1,3,4\n2,5,-6.25\n", {}, X, None),
    "pandas index and labels": (",a,b,y\n0,1.5,2,7\n1,3,4,8\n2,5,-6.25,7\n", {}, X, [7, 8, 7]),
    "shuffled pandas index": (",a,b\n9,1.5,2\n4,3,4\n7,5,-6.25\n", {}, X, None),
    "pandas index of text": (",a,b\np,1.5,2\nq,3,4\nr,5,-6.25\n", {}, X, None),
    "pandas index written twice": ("Unnamed: 0,a,b\n0,1.5,2\n1,3,4\n2,5,-6.25\n", {}, X, None),
    "pandas index written twice, shuffled": ("Unnamed: 0,a,b\n9,1.5,2\n4,3,4\n7,5,-6.25\n", {}, X, None),
    "pandas index of text written twice": (
        "Unnamed: 0,a,b,y\np,1.5,2,u\nq,3,4,v\nr,5,-6.25,u\n",
        {},
        X,
        ["u", "v", "u"],
    ),
    "pandas index beside one written before": (",Unnamed: 0,a,b\n0,0,1.5,2\n1,1,3,4\n2,2,5,-6.25\n", {}, X, None),
    "pandas index kept": ("Unnamed: 0,a\n1.5,2\n3,4\n5,-6.25\n", {"columns": ["Unnamed: 0", "a"]}, X, None),
    "a column that pandas found empty": ("a,b,Unnamed: 2\n1.5,2,\n3,4,\n5,-6.25,\n", {}, X, None),
    "pandas index over numbers": (",0,1\n0,1.5,2\n1,3,4\n2,5,-6.25\n", {}, X, None),
    "R's row names": ('"a" "b"\n"1" 1.5 2\n"2" 3 4\n"3" 5 -6.25\n', {}, X, None),
    "numbers as names": ("0,1\n1.5,2\n3,4\n5,-6.25\n", {}, X, None),
    "numbers as names and a label": ("0,1,label\n1.5,2,3\n3,4,5\n5,-6.25,3\n", {}, X, [3, 5, 3]),
    "numbers as names of whole numbers": ("0,1,2,3,4,5,6,7\n" + "1,1,1,1,1,1,1,1\n", {}, [[1] * 8], None),
    "numbers from 1 as names": ("1,2,3\n0.5,0.25,0.1\n0.7,0.8,0.9\n", {}, [[0.5, 0.25, 0.1], [0.7, 0.8, 0.9]], None),
    "numbers from 1 as names of one point": ("1,2,3\n0.5,0.25,0.1\n", {}, [[0.5, 0.25, 0.1]], None),
    "numbers from 1 as names, classes too": (
        "1;2;3\n0.5;0.25;1\n0.7;0.8;0\n",
        {"labels": "3"},
        [[0.5, 0.25], [0.7, 0.8]],
        [1, 0],
    ),
    "numbers from 1 as names of whole numbers": ("1,2,3,4,5,6,7,8\n" + "1,1,1,1,1,1,1,1\n", {}, [[1] * 8], None),
    "numbers from 1 that are a point": ("1,2,3\n0.5,1,0\n2,0.5,1\n", {}, [[1, 2, 3], [0.5, 1, 0], [2, 0.5, 1]], None),
    "numbers as names, said": ("2019,2020\n1.5,2\n3,4\n5,-6.25\n", {"header": True}, X, None),
    "numbers that are a point, said": ("0,1,2\n3,4,5\n", {"header": False}, [[0, 1, 2], [3, 4, 5]], None),
    "Label first": ("Label,a,b\n0,1.5,2\n1,3,4\n1,5,-6.25\n", {}, X, [0, 1, 1]),
    "class first": ("class,a,b\nx,1.5,2\ny,3,4\nx,5,-6.25\n", {}, X, ["x", "y", "x"]),
    "TARGET in the middle": ("a, TARGET ,b\n1.5,0.5,2\n3,1,4\n5,1,-6.25\n", {}, X, [0.5, 1, 1]),
    "Class Label": ("a,b,Class Label\n1.5,2,0\n3,4,1\n5,-6.25,1\n", {}, X, [0, 1, 1]),
    **{
        f"{name} in the middle": (f"a,{name},b\n1.5,0,2\n3,1,4\n5,1,-6.25\n", {}, X, [0, 1, 1])
        for name in (
            "species",
            "Digit",
            "DIAGNOSIS",
            "Outcome",
            "y [1]",
            "train_labels",
            "ClassId",
            "target (mm)",
            "y_test",
        )
    },
    "Y": ("a,b,Y\n1.5,2,0\n3,4,1\n5,-6.25,1\n", {}, X, [0, 1, 1]),
    "semicolons": ("a;b;y\n1.5;2;0\n3;4;1\n5;-6.25;1\n", {}, X, [0, 1, 1]),
    "tabs": ("a\tb\ty\n1.5\t2\tp q\n3\t4\tr\n5\t-6.25\tr\n", {}, X, ["p q", "r", "r"]),
    "spaces": ("  1.5   2\n  3   4\n  5   -6.25\n", {}, X, None),
    "bars": ("a|b|y\n1.5|2|0\n3|4|1\n5|-6.25|1\n", {}, X, [0, 1, 1]),
    "commas and spaces": ("1.5, 2, x\n3, 4, y \n5, -6.25, x\n", {}, X, ["x", "y", "x"]),
    "semicolons in text": ("1.5,2,x;p\n3,4,y;q\n5,-6.25,x;p\n", {}, X, ["x;p", "y;q", "x;p"]),
    "quoted text": ('a,b,kind\n1.5,2,"x, p"\n3,4,"y ""q"""\n5,-6.25,z\n', {}, X, ["x, p", 'y "q"', "z"]),
    "quoted line ends": ('a,b,kind\n1.5,2,"x\np"\n3,4,y\n5,-6.25,y\n', {}, X, ["x\np", "y", "y"]),
    "names that end a line": ('"a\n(m)",b\n1.5,2\n3,4\n5,-6.25\n', {}, X, None),
    "decimal comma in quotes": ('a,b,y\n"1,5","2",0\n"3","4",1\n"5","-6,25",1\n', {"decimal": ","}, X, [0, 1, 1]),
    "Excel's separator": ("sep=;\na;b\n1.5;2\n3;4\n5;-6.25\n", {}, X, None),
    "comments of MATLAB": ("% made\n1.5 2\n3 4\n% more\n5 -6.25\n", {}, X, None),
    "many comments far apart": ("  % made\n\n" * 60 + "1.5 2\n3 4\n5 -6.25\n", {}, X, None),
    "comments of C": ("// made\n1.5,2\n3,4\n5,-6.25\n", {}, X, None),
    "decimal comma": ("a;b\n1,5;2\n3;4\n5;-6,25\n", {"decimal": ","}, X, None),
    "decimal comma and tabs": ("1,5\t2\n3\t4,0\n5\t-6,25\n", {"decimal": ","}, X, None),
    "decimal comma and spaces": ("1,5 2 x\n3 4 y\n5 -6,25 x\n", {"decimal": ","}, X, ["x", "y", "x"]),
    "comments": ("# made\n1.5,2\n\n# more\n3,4\n5,-6.25 # last\n", {}, X, None),
    "names in a comment": ("# a b y\n1.5 2 0\n3 4 1\n5 -6.25 1\n", {}, X, [0, 1, 1]),
    "names after #": ("#a,b,label\n1.5,2,0\n3,4,1\n5,-6.25,1\n", {}, X, [0, 1, 1]),
    "# in a label": ("1.5,2,C#\n3,4,C\n5,-6.25,C\n", {}, X, ["C#", "C", "C"]),
    "comma at the end": ("1.5,2,\n3,4,\n5,-6.25,\n", {}, X, None),
    "comma at the end of rows": ("a,y\n1.5,2,\n3,4,\n", {}, [[1.5], [3]], [2, 4]),
    "comma at the end of all": ("a,b,\n1.5,2,\n3,4,\n5,-6.25,\n", {}, X, None),
    "semicolon at the end": ("1.5;2;\n3;4;\n5;-6.25;\n", {}, X, None),
    "Windows and a mark": ("\ufeffa,b,y\r\n1.5,2,0\r\n3,4,1\r\n5,-6.25,1\r\n", {}, X, [0, 1, 1]),
    "no end of line": ("1.5,2\n3,4\n5,-6.25", {}, X, None),
    "exponents": ("15e-1,+2\n3.,4E0\n.5e1,-6.25\n", {}, X, None),
    "truth values": ("a,b\nTrue,0.5\nFalse,1\n", {}, [[1, 0.5], [0, 1]], None),
    "columns asked for": ("a,b,c,y\n1.5,2,9,0\n3,4,9,1\n5,-6.25,9,1\n", {"columns": ["a", "b"]}, X, [0, 1, 1]),
    "columns with a known name": ("x,y\n1.5,2\n3,4\n5,-6.25\n", {"columns": ("x", "y")}, X, None),
    "columns dropped": ("id,a,b,y\n0,1.5,2,0\n1,3,4,1\n2,5,-6.25,1\n", {"drop": "id"}, X, [0, 1, 1]),
    "bits": ("True,False\nFalse,True\n", {}, [[1, 0], [0, 1]], None),
    "names with # above": ("sensor #1,sensor #2,label\n1.5,2,0\n3,4,1\n5,-6.25,1\n", {}, X, [0, 1, 1]),
    "classes of half a word": ("1.5,2,1st\n3,4,2nd\n5,-6.25,1st\n", {}, X, ["1st", "2nd", "1st"]),
    "dates asked for": (
        "a,b,day\n1.5,2,1.2.20\n3,4,2.2.20\n5,-6.25,1.2.20\n",
        {"labels": "day"},
        X,
        ["1.2.20", "2.2.20", "1.2.20"],
    ),
    "a decimal point beside decimal commas": ("1.5;2\n3,0;4\n5;-6,25\n", {"decimal": ","}, X, None),
    "text dropped": ("name,a,b\np,1.5,2\nq,3,4\nr,5,-6.25\n", {"drop": "name"}, X, None),
}


@pytest.mark.parametrize(("text", "options", "points", "labels"), READ.values(), ids=READ.keys())
def test_text(tmp_path: Path, text: str, options: dict, points: list, labels: list | None) -> None:
    check(read(tmp_path, text, **options), points, labels)


# What is refused, with what the message names.
REFUSED = {
    "empty file": ("", {}, "empty file"),
    "names alone": ("a,b\n", {}, "at least one data point"),
    "comments alone": ("# a\n# b\n", {}, "comments alone, # a, in"),
    "empty cell": ("a,b\n1,2\n3,\n5,6\n", {}, "empty cell in row 1, column 'b'"),
    "empty cell without names": ("1,2,3\n4,,6\n", {}, "empty cell in row 1, column 1"),
    "NA": ("a,b\n1,2\nNA,4\n5,6\n", {}, "missing value 'NA' in row 1, column 'a'"),
    "?": ("1,?,0\n4,5,1\n6,7,1\n", {}, r"missing value '\?' in row 0, column 1"),
    "empty label": ("1,2,x\n4,5,\n6,7,x\n", {}, "empty cell in row 1, column 2"),
    "NA as label": ("a,b,y\n1,2,x\n4,5,NA\n6,7,x\n", {}, "missing value 'NA' in row 1, column 'y'"),
    "missing number as label": ("a,b,y\n1,2,0\n4,5,\n6,7,1\n", {}, "empty cell in row 1, column 'y'"),
    "text among numbers": ("1,2,0\nx,4,1\n", {}, "'x' in row 1, column 0"),
    "text among few numbers": ("1,2,p\nx,4,q\n3,4,p\n", {}, "'x' in row 1, column 0"),
    "text among numbers with names": ("a,b\n1,2\n3,4\n5,six\n", {}, "'six' in row 2, column 'b'"),
    "text in the first row": ("1.5,abc\n3,4\n5,6\n", {}, "'abc' in row 0, column 1"),
    "short row": ("1,2,3\n1,2\n", {}, "3 columns in every row, got 2 in row 1"),
    "long row": ("1,2\n1,2\n1,2,3\n", {}, "2 columns in every row, got 3 in row 2"),
    "short row with spaces": ("1 2\n3\n4 5\n", {}, "2 columns in every row, got 1 in row 1"),
    "decimal comma not said": ("1,5;2,5\n3,0;4,0\n", {}, "'1,5' in row 0, column 0 .*--decimal ,"),
    "two texts": ("p,1,x\nq,2,y\np,3,x\n", {}, "text|column"),
    "text that is no label": ("name,a\np,1.5\nq,2\nr,3\n", {}, "'p' in column name .*--labels name or --drop name"),
    "nothing but text": ("a,b\nx,y\nz,w\n", {}, "numbers as points"),
    "an id": ("Id,a,b\n1,1.5,2\n2,3,4\n3,5,6\n", {}, "column Id .* counts the rows; leave it out, --drop Id"),
    "an id that does not count": (
        "id,diagnosis,a\n842,M,1\n93,B,2\n84,M,3\n",
        {},
        "id .* another whole number .*--drop id",
    ),
    "an id in the middle": ("a,ID,y\n1,842,0\n2,93,1\n3,84,0\n", {}, "column ID .*--drop ID"),
    "thousands": ('"1,500.5","2"\n"3","4"\n', {}, "got 1,500.5, 2 .*--no-header"),
    "thousands, said": ('"1,500.5","2"\n"3","4"\n', {"header": False}, "'1,500.5' in row 0, column 0"),
    "fractions": ("1/2,2\n3,4\n", {}, "1/2, 2"),
    "complex numbers": ("1+2j,2\n3,4\n", {}, "got 1.2j, 2"),
    "hexadecimal": ("0x10,2\n3,4\n", {}, "0x10, 2"),
    "underscores": ("1_0,2\n3,4\n", {}, "1_0, 2"),
    "typographic minus": ("\u22121.5,2\n3,4\n", {}, "\u22121.5, 2"),
    "an index": ("index,a\n0,1.5\n1,3\n2,5\n", {}, "--drop index"),
    "two labels": ("a,class,target\n1,0,3\n2,1,4\n", {}, "got class, target"),
    "coordinates": ("x,y,z\n1,2,3.5\n4,5,6.5\n", {}, "got y, beside x and z"),
    "names or a point": ("0,1,2\n3,4,5\n", {}, "got 0, 1, 2 .*--header or --no-header"),
    "years or a point": ("2019,2020\n1.5,2.5\n3.5,4.5\n5.5,6.5\n", {}, "got 2019, 2020 .*--header"),
    "name or a label": ("1,2,kind\n3,4,x\n5,6,y\n7,8,x\n1,1,y\n", {}, "got kind .*--header"),
    "a column that is not there": ("a,b\n1,2\n", {"labels": "c"}, "a column 'c', got a, b"),
    "a number that is not there": ("a,b\n1,2\n", {"labels": 7}, "a column '7'"),
    "a column without names": ("1,2\n", {"labels": "c"}, "a column 'c', got 2 columns without names"),
    "two of one name": ("a,a,b\n1,2,3\n", {"labels": "a"}, "one column 'a', got 2"),
    "one column as labels": ("1\n2\n", {"labels": "last"}, "two columns"),
    "no points": ("y\n1\n2\n", {}, "at least one column of points"),
    "decimal sign": ("1,2\n", {"decimal": "x"}, "a decimal sign"),
    "an empty column": ("a,b,c\n1,,2\n3,,4\n", {}, "empty cells in column b .*--drop b"),
    "a date": ("day,a\n2020-01-01,1\n2020-01-02,2\n", {}, "'2020-01-01' in column day"),
    # a first row of which one cell is no number, above whole numbers
    **{
        f"first row with {cell}": (f"{cell},7\n2,3\n4,5\n", {}, "row 0, column 0" if cell != "seven" else "--no-header")
        for cell in ("--", "n.a.", "missing", "#N/A", "#VALUE!", "NaT", "1.#IND", "(null)", "seven")
    },
    "first row with a name at its end": ("7,seven\n2,3\n4,5\n", {}, "got 7, seven .*--no-header"),
    # rows that begin with what begins a comment
    "an error of Excel begins a row": ("a,b\n1,2\n#DIV/0!,3\n4,5\n", {}, "'#DIV/0!' in row 1, column 'a'"),
    "an error of Excel behind a blank": ("1, 2\n3, #N/A\n4, 5\n", {}, "'#N/A' in row 1, column 1"),
    "a label begins with #": ("go,1,2\n#rust,3,4\ngo,5,6\n", {}, "got #rust,3,4 .*in quotes"),
    "a label begins with %": ("y,1,2\n%x,3,4\ny,5,6\n", {}, "got %x,3,4"),
    "a label begins with //": ("/usr,1,2\n//srv,3,4\n/usr,5,6\n", {}, "got //srv,3,4"),
    "a label with # within": ("1,2,x\n3,4,class #1\n5,6,class #2\n", {}, "got class #1 in row 1 .*quotes"),
    "a comment behind a label": ("a,b,y\n1,2,x\n3,4,z # new\n", {}, "got z # new in row 1"),
    # texts that are measurements, never classes
    **{
        f"{cells[0]} is no class": (
            "a,b,c\n" + "".join(f'1,2,"{cell}"\n' for cell in (*cells, *cells)),
            {},
            r"in column c .*write plain numbers",
        )
        for cells in (
            ("1,234,567", "2,345,678"),
            ("$5.00", "$6.00"),
            ("5,00 \u20ac", "6,50 \u20ac"),
            ("5%", "6%"),
            ("5 kg", "6 kg"),
            ("5kg", "6.5kg"),
            ("1/2", "1/3"),
            ("\u22124", "\u22122.5"),
            ("1 234", "3 456"),
            ("1+2i", "2-1i"),
            ("(1.5)", "(2.5)"),
            ("2020-01-31", "2020-02-01"),
            ("31.01.2020", "01.02.2020"),
            ("1/31/2020", "2/1/2020"),
            ("12:30", "12:31"),
            ("2020-01-31T12:00:00Z", "2020-01-31T13:00:00Z"),
            ("Jan 31 2020", "Feb 1 2020"),
            ("<0.5", "<0.7"),
        )
    },
    "measurements under the name of labels": ("a,target\n1,$5\n2,$6\n", {}, "--labels target makes each text a class"),
    "thousands with points": (
        "a;b\n1.234;2,5\n3.456;4,5\n",
        {"decimal": ","},
        "'1.234' in row 0, column 'a' .*points, 1234",
    ),
    "thousands or decimal commas": (
        "a;b\n1,234;2\n3,456;4\n",
        {},
        "'1,234' in row 0.*without commas, 1234; a decimal comma",
    ),
    "digits of another script": ("a,b\n\uff11.\uff15,2\n3,4\n5,6\n", {}, "row 0, column 'a'"),
    # names of what tells rows apart
    **{
        f"an index named {name}": (f"{name},a,b\n1,1.5,2\n2,3,4\n3,5,6\n", {}, f"column {name} .*--drop {name}")
        for name in ("PassengerId", "sample_id", "No.", "Row Number", "obs", "user id", "uid")
    },
    "an index in floating point": ("id,a\n3.0,1.5\n1.0,3\n2.0,5\n", {}, "column id"),
    "a name in every row": ("a,b,name\n1,2,Ann\n3,4,Bob\n5,6,Cyd\n", {}, "'Ann' in column name"),
    "labels by half a name twice": ("a,target_1,target_2\n1,0,1\n2,1,0\n", {}, "got target_1, target_2"),
    "a label twice": ("a,b\n1,2\n3,4\n", {"labels": [0, 1, 0]}, "each once, got 0, 1, 0"),
    "used and left out": ("a,b\n1,2\n3,4\n", {"drop": "a", "columns": ["a", "b"]}, "got a as both"),
    "a quote that does not close": ('a,b\n1,"2\n3,4\n5,6\n', {}, "quotes that close, got one that does not in row 0"),
    "a quote that does not close in the first row": ('1,2,"x\n3,4,y\n', {}, "quotes that close"),
    "too few names": ("a,b\n1.5,2,3\n4,5,6\n", {}, "2 names and 3 columns"),
}


@pytest.mark.parametrize(
    ("text", "points", "labels"),
    [
        ('a;b|0,0\n"say ""so"""|0,0\n', [[0.0], [0.0]], ["a;b", 'say "so"']),
        ('0,0|a, b\n0,0|"say ""so"""\n', [[0.0], [0.0]], ["a, b", 'say "so"']),
        ('1,5;a, b\n2,0;"c;d"\n', [[1.5], [2.0]], ["a, b", "c;d"]),
        ('"1,5",c\n"2,0",d\n', [[1.5], [2.0]], ["c", "d"]),
    ],
)
def test_a_decimal_comma_separates_only_what_is_quoted(
    tmp_path: Path, text: str, points: list, labels: list[str]
) -> None:
    place = 0 if text[0] == "a" else 1
    data = read(tmp_path, text, decimal=",", header=False, labels=place)
    np.testing.assert_array_equal(data.X, points)
    assert list(data.y) == labels


@pytest.mark.parametrize(("text", "options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_text_refused(tmp_path: Path, text: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,nan,0\n3,4,1\n", "nan in row 0, column 1"),
        ("a,b\n1,2\n3,inf\n", "inf in row 1, column 'b'"),
        ("a,y\n1,2\n3,nan\n5,6\n", "nan in row 1, column 'y'"),
        ("a,y\n1,2\n3,-inf\n", "-inf in row 1, column 'y'"),
        ("1,1e999\n", r"(inf|1e999) in row 0, column 1"),
    ],
)
def test_text_that_is_not_finite(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(NotFiniteError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1.5,2\n3,4\n", "2 points of 2 inputs, columns a, b; labels: none"),
        ("1.5\n3\n", "2 points of 1 input, column 0; labels: none"),
        ("a,b,kind\n1,2,x\n3,4,y\n", "2 points of 2 inputs, columns a, b; labels: column kind, 2 classes"),
        ("a,y\n1,0.5\n3,4\n", "2 points of 1 input, column a; labels: column y, numbers"),
        (",a,b\n0,1.5,2\n1,3,4\n", "columns a, b; labels: none; left out: the index, column 0 without a name"),
        ("0,1\n1.5,2\n3,4\n", "columns 0, 1; labels: none; first row taken as names: 0, 1"),
        ("# a y\n1.5 2\n3 4\n", "column a; labels: column y, 2 classes; names from the comment above"),
        ("1,2,3\n0.5,0.1,0.2\n", "columns 1, 2, 3; labels: none; first row taken as names: 1, 2, 3, ..."),
        (
            "1,2,3\n4,5,6\n",
            "2 points of 3 inputs, columns 0, 1, 2; labels: none; first row 1, 2, 3 taken as a point (--header",
        ),
        (
            "a,Unnamed: 1\n1,\n2,\n",
            "column a; labels: none; left out: nothing but empty cells, column 1 without a name",
        ),
        ("0,1.5\n1,3\n2,3\n", "labels: none; column 0 counts the rows: leave it out (--drop 0) if it is an index"),
        (
            "1.5,2\n#3,4\n5,6\n",
            "2 points of 2 inputs, columns 0, 1; labels: none; left out: 1 comment that looks like a row",
        ),
        ("t,a\n0,1.5\n1,3\n2,5\n", "labels: none; column t counts the rows: leave it out (--drop t) if it is an index"),
        (",".join("1" * 64) + "\n", "1 point of 64 inputs, columns 0, 1, 2, ..., 63; labels: none"),
    ],
)
def test_what_is_said(tmp_path: Path, text: str, said: str) -> None:
    line = str(read(tmp_path, text))
    assert line.startswith(f"{tmp_path / 'points.csv'}: ")
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "name", ["p.csv", "p.tsv", "p.txt", "p.dat", "iris.data", "p", "p.csv.gz", "p.tsv.bz2", "p.xz"]
)
def test_names_of_text_files_and_packers(tmp_path: Path, name: str) -> None:
    content = b"a\tb\ty\n1.5\t2\t0\n3\t4\t1\n5\t-6.25\t1\n"
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)
    path = tmp_path / name
    path.write_bytes(pack(content))
    check(datasets.load(str(path)), X, [0, 1, 1])


def test_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "excel.txt"
    path.write_bytes("a\tb\ty\n1.5\t2\tä\n3\t4\tb\n5\t-6.25\tb\n".encode("utf-16"))
    check(datasets.load(path), X, ["ä", "b", "b"])
