"""Write the page of all stores: ``python -m storage_schemas``."""

from pathlib import Path

from storage_schemas.catalog import catalog_page

if __name__ == "__main__":
    Path(__file__).with_name("README.md").write_text(catalog_page(), encoding="utf-8")
