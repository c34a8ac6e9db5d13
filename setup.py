"""What pyproject.toml has no words for: the presets of configs/ are installed inside the package, as lfm_jax.configs."""

from setuptools import find_namespace_packages, setup

setup(
    # Folders without Python files too: the built page, and weights that come with the package.
    packages=[*find_namespace_packages(include=["lfm_jax*"]), "lfm_jax.configs", "lfm_jax.configs.ablations"],
    package_dir={"lfm_jax.configs": "configs"},
)
