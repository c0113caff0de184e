"""Packaging of calico_mn; ``./install.sh`` installs it, with what it needs of the system."""

from setuptools import find_packages, setup

FILES = {f"calico_mn.files.{name}": name for name in ("experiments", "topologies")}
#: cryptography makes the certificates of 'calico-mn sweep --local'
DASK = ["cryptography", "distributed>=2025.4"]
KUBERNETES = ["kubernetes>=37"]

setup(
    name="calico_mn",
    version="0.1.0",
    description="Calico's data plane emulated on one Linux machine, on top of Mininet",
    author="The calico_mn authors",
    license="BSD-3-Clause",
    # experiments/ and topologies/ lie beside the package, and in a wheel inside it (version.py).
    packages=[*find_packages(include=["calico_mn", "calico_mn.*"]), *FILES],
    package_dir=FILES,
    package_data={
        "calico_mn": ["py.typed"],
        "calico_mn.files.topologies": ["*.yaml"],
        "calico_mn.report": ["templates/*"],
        "calico_mn.trace": ["templates/*"],
        "calico_mn.web": ["templates/*"],
        "calico_mn.walkthrough": ["story.yaml"],
        "calico_mn.kernel": ["ebpf/*.o", "ebpf/*.c", "ebpf/*.sh"],
    },
    entry_points={"console_scripts": ["calico-mn = calico_mn.cli.main:main"]},
    python_requires=">=3.10",
    install_requires=[
        "argcomplete",
        "bottle>=0.13",
        "mininet>=2.3.0.dev6",
        "pyyaml",
        "rich",
        "jinja2",
        "matplotlib>=3.8",
    ],
    extras_require={
        "dask": DASK,
        "kubernetes": KUBERNETES,
        "notebook": ["pandas"],
        "test": [*DASK, *KUBERNETES, "aiohttp", "pandas", "pytest", "pytest-rerunfailures",
                 "pytest-xdist", "hypothesis", "kubernetes-validate", "mypy", "ruff", "scapy",
                 "setuptools>=70.1", "types-PyYAML"],
    },
    zip_safe=False,
)
