"""Builds the optional C cores (boards, books); all else about the package is in pyproject.toml.

PENSTOCK_BUILD_CORE=1 demands them (a failed build is an error), =0 leaves them out; otherwise they
are built where a C compiler and the Python headers are found. PENSTOCK_BUILD_STEPS=1 builds the
variant of the boards with step hooks instead, which the crash tests use and nothing installs.
"""

import os
from glob import glob

from setuptools import Extension, setup

SOURCES = sorted(glob("cache/_*.c"))
HEADERS = sorted(glob("cache/_*.h"))
FLAGS = ["-std=gnu11", "-O3", "-fvisibility=hidden", "-fno-plt", "-Wall", "-Wextra"]

wish = os.environ.get("PENSTOCK_BUILD_CORE", "")
core = Extension(
    "cache._board",
    SOURCES,
    depends=HEADERS,
    extra_compile_args=FLAGS,
    optional=wish != "1",
)
if os.environ.get("PENSTOCK_BUILD_STEPS") == "1":
    core = Extension(
        "cache._board_steps",
        SOURCES,
        depends=HEADERS,
        extra_compile_args=FLAGS,
        define_macros=[("BOARD_STEPS", "1")],
    )

books = Extension(
    "feeds._book",
    sorted(glob("feeds/_*.c")),
    include_dirs=["cache"],
    depends=HEADERS + sorted(glob("feeds/_*.h")),
    extra_compile_args=FLAGS,
    optional=wish != "1",
)
extensions = [core] if os.environ.get("PENSTOCK_BUILD_STEPS") == "1" else [core, books]

setup(ext_modules=[] if wish == "0" else extensions)
