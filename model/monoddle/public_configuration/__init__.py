"""The YAML files of MonoDLE and MonoDDLE, read as recipes: what each of their keys is here."""
