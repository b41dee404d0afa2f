"""W13: a tree of 100,000 files.  WHAT walk | glob | copy | remove."""
import glob
import os
import shutil
from common import args, now, result

WHAT, PATH = args[0], args[1]
FILES = 100000


def walk():
    return sum(len(files) for _, _, files in os.walk(PATH))


def glob_them():
    return 10 * len(glob.glob(PATH + "/**/*7.txt", recursive=True))


def copy():
    shutil.copytree(PATH, args[2])
    return FILES


def remove():
    shutil.rmtree(PATH)
    return FILES


t0 = now()
n = {"walk": walk, "glob": glob_them, "copy": copy, "remove": remove}[WHAT]()
t = now() - t0
assert n == FILES, n
result(n, t)
