"""Packaging of calico_mn; ``./install.sh`` installs it, with what it needs of the system."""

from setuptools import find_packages, setup

setup(
    name="calico_mn",
    version="0.1.0",
    description="Calico's data plane emulated on one Linux machine, on top of Mininet",
    author="The calico_mn authors",
    license="BSD-3-Clause",
    packages=find_packages(include=["calico_mn", "calico_mn.*"]),
    package_data={
        "calico_mn": ["py.typed"],
        "calico_mn.report": ["templates/*"],
        "calico_mn.walkthrough": ["story.yaml"],
        "calico_mn.kernel": ["ebpf/*.o", "ebpf/*.c", "ebpf/*.sh"],
    },
    entry_points={"console_scripts": ["calico-mn = calico_mn.cli.main:main"]},
    python_requires=">=3.10",
    install_requires=[
        "argcomplete",
        "mininet>=2.3.0.dev6",
        "pyyaml",
        "rich",
        "jinja2",
        "matplotlib>=3.8",
    ],
    extras_require={
        "test": ["pytest", "pytest-xdist", "hypothesis", "mypy", "ruff", "types-PyYAML"],
    },
    zip_safe=False,
)
