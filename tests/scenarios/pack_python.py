"""Packs the modules of the standard library that programs with sockets import, as source;
one that is no source goes beside them: pack_python.py OUT.zip
"""
import _contextvars
import asyncio
import encodings.idna
import http.client
import os
import shutil
import sys
import threading
import zipfile

library = os.path.dirname(os.__file__)
files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
# Chosen by name as they are needed.
files |= {os.path.join(library, "encodings", name) for name in ("latin_1.py", "ascii.py", "cp437.py")}
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for file in sorted(filter(None, files)):
        if file.startswith(library + os.sep) and file.endswith(".py"):
            # Of one age, so that equal trees make equal archives.
            info = zipfile.ZipInfo(os.path.relpath(file, library))
            with open(file, "rb") as source:
                archive.writestr(info, source.read())

binary = getattr(_contextvars, "__file__", None)
if binary:
    place = os.path.join(os.path.dirname(os.path.abspath(sys.argv[1])), os.path.basename(binary))
    shutil.copy(binary, f"{place}.{os.getpid()}")
    os.replace(f"{place}.{os.getpid()}", place)
